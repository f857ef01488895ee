"""Datasets of the Hugging Face hub, named `hf://owner/name`: their Parquet files, in the hub's own cache.

    hf://owner/name                               `hf://datasets/owner/name` too
    hf://owner/name/folder                        a folder of it
    hf://owner/name@refs/convert/parquet          a revision: this one the hub makes of datasets in other forms

Only Parquet files, README.md and classes.txt are downloaded; a dataset's scripts never are.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from semples.core.errors import UserError
from semples.core.hub_client import quiet_hub
from semples.data.columnar.sources import by_name, missing_shards
from semples.data.names import safe_relative

SCHEME = "hf:"
CONVERTED = "refs/convert/parquet"
_PLACE = re.compile(
    r"hf:/{1,2}(?:datasets/)?(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/[\w-]+/[\w-]+|[^/]+))?(?P<below>/.*)?"
)


def local_source(source: Path | str) -> Path:
    """The folder or file of a source of photos: a place of the hub (see above) by its files in the cache, downloaded
    where they are not there or are others now; any other path as it is. Raises UserError."""
    text = str(source).replace("\\", "/")
    if not text.startswith(f"{SCHEME}/"):
        return Path(source).expanduser()
    place = _PLACE.fullmatch(text)
    below = safe_relative(place["below"].strip("/")) if place and (place["below"] or "").strip("/") else None
    if place is None or (below is None and (place["below"] or "").strip("/")):
        raise UserError(f"{source}: not a dataset of the hub; write hf://owner/name, or hf://owner/name/folder")
    folder = _snapshot(place["repo"], unquote(place["revision"] or "") or None)
    local = folder if below is None else folder / below
    if below is not None and not local.exists():
        raise UserError(f"{source}: the dataset has no Parquet files in {below}")
    if not by_name(folder):
        hint = f"hf://{place['repo']}@{CONVERTED} may have them"
        raise UserError(f"{source}: the dataset has no Parquet files, and scripts are not run; {hint}")
    return local


def _snapshot(repo: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = ["*.parquet", "README.md", "classes.txt"]
    try:
        with quiet_hub():
            folder = Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except GatedRepoError:
        raise UserError(
            f"{repo}: gated, its owner wants its terms accepted first: do so at {constants.ENDPOINT}/datasets/{repo}, "
            "then log in here with `hf auth login` (or set HF_TOKEN)"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{repo}: the dataset has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{repo}: the hub has no dataset of this name, or it is private; check the spelling, or log in with "
            "`hf auth login` (or set HF_TOKEN)"
        ) from None
    except HFValidationError:
        raise UserError(f"{repo}: not a name that the hub can have; write hf://owner/name") from None
    except LocalEntryNotFoundError:
        raise UserError(
            f"{repo}: not in the local cache and the hub cannot be reached; on a machine with network run "
            f"`hf download {repo} --repo-type dataset --local-dir FOLDER`, and give that folder"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"{repo}: the hub does not give the dataset ({reason}); try again later") from None
    missing = missing_shards(by_name(folder))
    if missing:
        raise UserError(f"{repo}: only {missing[0]} are in the local cache; try again with the hub in reach")
    return folder
