"""Datasets from Kaggle, a pinned version, through Kaggle's own library and its cache."""

import re
from pathlib import Path

from rebalance_core.errors import UserError, first_line

_HANDLE = re.compile(r"[\w-]+/[\w-]+(/versions/\d+)?")


def download(handle: str) -> Path:
    """The folder that holds `owner/dataset[/versions/n]`; downloaded unless it was before."""
    if not _HANDLE.fullmatch(handle):
        raise UserError(f"{handle!r} is no Kaggle dataset; write kaggle:owner/dataset/versions/1.")
    import kagglehub
    from kagglehub import exceptions
    from requests.exceptions import ConnectionError as Offline
    from requests.exceptions import RequestException, Timeout

    by_hand = f"download https://www.kaggle.com/datasets/{handle.partition('/versions')[0]}"
    try:
        return Path(kagglehub.dataset_download(handle))
    except (Offline, Timeout) as error:
        raise UserError(
            f"Kaggle cannot be reached from this machine; connect it, or {by_hand} elsewhere and "
            "add the zip."
        ) from error
    except (exceptions.KaggleApiHTTPError, exceptions.BackendError, RequestException) as error:
        raise UserError(
            f"Kaggle refuses {handle} ({first_line(error)}); sign in as Kaggle's "
            f"documentation of API tokens says, or {by_hand} and add the zip."
        ) from error
    except (exceptions.DataCorruptionError, OSError, ValueError) as error:
        raise UserError(
            f"Kaggle's download of {handle} failed ({first_line(error)}); try again, or {by_hand} "
            "and add the zip."
        ) from error
