"""Run folders and what goes into them: whole files or none, digests, manifests, and a journal to resume from.

Not for what the files mean: each stage knows its own.
"""

from interp.store.cache import cache_dir as cache_dir
from interp.store.cache import cached_folder as cached_folder
from interp.store.digests import SUMS as SUMS
from interp.store.digests import changed as changed
from interp.store.digests import folder_sums as folder_sums
from interp.store.digests import read_sums as read_sums
from interp.store.digests import sha256_bytes as sha256_bytes
from interp.store.digests import sha256_file as sha256_file
from interp.store.digests import sha256_record as sha256_record
from interp.store.digests import sha256_tensors as sha256_tensors
from interp.store.folders import Owned as Owned
from interp.store.folders import atomic_folder as atomic_folder
from interp.store.folders import check_name as check_name
from interp.store.folders import check_new as check_new
from interp.store.folders import check_out as check_out
from interp.store.folders import check_replaceable as check_replaceable
from interp.store.folders import strangers as strangers
from interp.store.folders import sweep as sweep
from interp.store.journal import Journal as Journal
from interp.store.manifests import MANIFEST as MANIFEST
from interp.store.manifests import Manifest as Manifest
from interp.store.manifests import Settings as Settings
from interp.store.manifests import git_state as git_state
from interp.store.manifests import new_manifest as new_manifest
from interp.store.manifests import read_manifest as read_manifest
from interp.store.manifests import versions as versions
from interp.store.manifests import write_manifest as write_manifest
from interp.store.reading import SEAL as SEAL
from interp.store.reading import checked as checked
from interp.store.reading import one_line as one_line
from interp.store.reading import parse_json as parse_json
from interp.store.reading import read_bytes as read_bytes
from interp.store.reading import read_json as read_json
from interp.store.reading import read_sealed as read_sealed
from interp.store.runs import check_run_folder as check_run_folder
from interp.store.runs import locked as locked
from interp.store.runs import run_folder as run_folder
from interp.store.writing import atomic_write_bytes as atomic_write_bytes
from interp.store.writing import atomic_write_json as atomic_write_json
from interp.store.writing import atomic_write_text as atomic_write_text
from interp.store.writing import write_sealed as write_sealed
from interp.store.writing import write_sums as write_sums
