"""What kind of filesystem a folder lies on, as the kernel names it, and what may be expected of it."""

import re
from pathlib import Path

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "lustre"}
)
# Those whose changes are all made by this kernel, which announces them. Any other kind is polled: that is safe always.
_ANNOUNCED = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "overlay", "tmpfs", "ramfs"}
    | {"vfat", "exfat", "ntfs3", "fuseblk", "udf"}
)
_OCTAL = re.compile(rb"\\([0-7]{3})")  # how the kernel writes a blank in a mount point


def filesystem_of(path: Path, *, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Type of the filesystem that holds `path`, as the kernel names it; "unknown" where it cannot be told."""
    resolved, best, kind = bytes(path.resolve()), b"", "unknown"
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return kind
    for line in lines:
        before, _, after = line.partition(b" - ")
        mounted = _OCTAL.sub(lambda escape: bytes([int(escape[1], 8)]), before.split()[4])
        inside = resolved == mounted or resolved.startswith(mounted.rstrip(b"/") + b"/")
        if inside and len(mounted) >= len(best):
            best, kind = mounted, after.split()[0].decode("ascii", "replace")
    return kind


def announces(kind: str) -> bool:
    """Whether inotify tells of every change: not where other machines, or a FUSE program, write behind the kernel."""
    return kind in _ANNOUNCED
