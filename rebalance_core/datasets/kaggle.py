"""Download datasets from Kaggle, of a pinned version, with kagglehub and its cache."""

import re
from pathlib import Path

from rebalance_core.errors import UserError, first_line

_HANDLE = re.compile(r"[\w-]+/[\w-]+(/versions/\d+)?")


def download(handle: str) -> Path:
    """The local folder of `owner/dataset[/versions/n]`; downloaded unless it is in the cache."""
    if not _HANDLE.fullmatch(handle):
        raise UserError(
            f"{handle!r} is not a Kaggle dataset; write kaggle:owner/dataset/versions/1."
        )
    import kagglehub
    from kagglehub import exceptions
    from requests.exceptions import ConnectionError as Offline
    from requests.exceptions import RequestException, Timeout

    manual = f"download https://www.kaggle.com/datasets/{handle.partition('/versions')[0]}"
    try:
        return Path(kagglehub.dataset_download(handle))
    except (Offline, Timeout) as error:
        raise UserError(
            f"Kaggle cannot be reached from this machine; connect it, or {manual} elsewhere and "
            "add the zip."
        ) from error
    except (exceptions.KaggleApiHTTPError, exceptions.BackendError, RequestException) as error:
        raise UserError(
            f"Kaggle refuses {handle} ({first_line(error)}); sign in as described in Kaggle's "
            f"documentation of API tokens, or {manual} and add the zip."
        ) from error
    except (exceptions.DataCorruptionError, OSError, ValueError) as error:
        raise UserError(
            f"Kaggle's download of {handle} failed ({first_line(error)}); try again, or {manual} "
            "and add the zip."
        ) from error
