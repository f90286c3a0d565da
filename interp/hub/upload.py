"""Upload a published folder to the model hub."""

import re
from pathlib import Path
from typing import Any

from interp.errors import InterpError
from interp.hub.manifest import Kind

TOKEN = re.compile(r"hf_\w+")


def upload(root: Path, repo: str, kind: Kind, private: bool, api: Any | None) -> tuple[str, str | None]:
    """Page and commit. The hub's words are passed on in one line and without the token."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    client: Any = api or HfApi()
    try:
        url = client.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        if private and not client.repo_info(repo, repo_type="model").private:
            raise InterpError(f"{repo} exists and is public, asked for private; nothing was uploaded. Name another")
        told = client.upload_folder(
            repo_id=repo, folder_path=root, repo_type="model", commit_message=f"Publish {kind} with interp"
        )
    except InterpError:
        raise
    except (HTTPError, OSError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        line = next(iter(str(error).strip().splitlines()), "no message")
        why = f"{type(error).__name__}{f' {status}' if status else ''}: {TOKEN.sub('hf_…', line)}"
        # without its cause, whose request carries the token
        raise InterpError(
            f"{repo}: the hub did not take it ({why}); log in with `hf auth login` with a token that may write to it, "
            "or look at the folder with dry_run=True"
        ) from None
    return str(url), getattr(told, "oid", None)
