"""Builds the source distribution and the wheel into dist/: from the same commit the same bytes.

    make wheel

The wheel is built from the source distribution, so that one which lacks a file fails here. Neither depends on
the folder, the umask, the modes and times of the files, or what an earlier build left behind: everything is
built in a copy, with the time of the commit, or with a fixed one where there is no .git.
"""

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS_MIN = 77  # as pyproject.toml says: it knows license_expression, and needs no `wheel`
WITHOUT_GIT_S = 1_577_836_800  # the first second of 2020
NOT_SOURCES = (".*", "__pycache__", "*.egg-info", "build", "dist", "state")


def main() -> int:
    """Build both, and print their hashes. The exit code."""
    if int(version("setuptools").partition(".")[0]) < SETUPTOOLS_MIN:
        print(f"setuptools is {version('setuptools')}, expected {SETUPTOOLS_MIN} or newer", file=sys.stderr)
        return 2
    os.umask(0o022)
    commit_s = _git("log", "-1", "--format=%ct")
    time_s = int(os.environ.get("SOURCE_DATE_EPOCH") or commit_s or WITHOUT_GIT_S)
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="playtally-build-") as folder:
        sources, unpacked = Path(folder, "sources"), Path(folder, "unpacked")
        _copy_sources(sources)
        built = [_normalised(_build("sdist", sources, time_s), dist, time_s)]
        unpacked.mkdir()
        subprocess.run(["tar", "-xzf", built[0], "-C", unpacked], check=True)
        wheel = _build("wheel", next(unpacked.iterdir()), time_s)
        built.append(Path(shutil.copy(wheel, dist)))
    for file in built:
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(ROOT)}")
    return 0


def _git(*words: str) -> str:
    """What git says of this checkout; nothing if git does not know it."""
    if not (ROOT / ".git").exists():
        return ""
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout


def _copy_sources(target: Path) -> None:
    """All that git tracks, or without git all that is not left behind by something: each with modes that
    only tell whether it can be executed.
    """
    tracked = [ROOT / name for name in _git("ls-files", "-z").split("\0") if name]
    for path in tracked or _files_below(ROOT):
        if not path.is_file():
            continue  # deleted, and not committed yet
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy, follow_symlinks=False)
        if not copy.is_symlink():
            copy.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _files_below(folder: Path) -> list[Path]:
    kept = [path for path in folder.iterdir() if not any(path.match(pattern) for pattern in NOT_SOURCES)]
    return [one for path in kept for one in ([path] if not path.is_dir() else _files_below(path))]


def _build(kind: str, sources: Path, time_s: int) -> Path:
    """Let setuptools build it. The file, in a folder beside `sources`."""
    target = sources.with_name(kind)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})",
        ],
        cwd=sources,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(time_s), "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode:
        sys.exit(f"{run.stdout}\nthe {kind} could not be built")
    return next(target.iterdir())


def _normalised(sdist: Path, dist: Path, time_s: int) -> Path:
    """The same archive in `dist`, in the order of names and without who built it when."""
    target = dist / sdist.name
    with (
        tarfile.open(sdist) as source,
        open(target, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=time_s) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time_s, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
            member.pax_headers = {}
            archive.addfile(member, source.extractfile(member) if member.isreg() else None)
    return target


if __name__ == "__main__":
    sys.exit(main())
