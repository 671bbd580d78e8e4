"""Files that stand in for an image: pointers of Git LFS and git-annex, saved web pages."""

import re

LFS = "a Git LFS pointer"
ANNEX = "a git-annex pointer"
WEB_PAGE = "a web page saved as an image"
# {reason: how to get the image}
REMEDIES = {
    LFS: "fetch the images with `git lfs pull`",
    ANNEX: "fetch the images with `git annex get .`",
    WEB_PAGE: "download the images again; the server may require a login",
}
_LFS = re.compile(rb"version https?://(git-lfs\.github\.com|hawser\.github\.com)/spec/")
_ANNEX = re.compile(rb"(\.\./)*(\.git)?/?annex/objects/")
_WEB_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*(<\?xml[^>]*>\s*)?<(!doctype\s+)?html\b"
)


def placeholder(head: bytes) -> str:
    """What stands in for the image in a file that begins with `head`; '' for anything else."""
    if _LFS.match(head):
        return LFS
    if _ANNEX.match(head):
        return ANNEX
    return WEB_PAGE if _WEB_PAGE.match(head.lower()) else ""
