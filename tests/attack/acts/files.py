"""Acts on files: reading, writing, and changing what is known of them."""

from __future__ import annotations

import os
from typing import Any

from tests.attack.acts.act import act, call, since


@act("read a file of the archive's keeper", *since(1))
def read_secret(to: dict[str, Any]) -> None:
    with open(to["secret"], "rb") as file:
        file.read()


@act("read what lies in the working folder", *since(1))
def read_working_folder(to: dict[str, Any]) -> None:
    with open(to["working"], "rb") as file:
        file.read()


@act("read the token of the cluster in the home folder", *since(1))
def read_token(to: dict[str, Any]) -> None:
    with open(to["token"], "rb") as file:
        file.read()


@act("read another process's environment", *since(1))
def read_environment(to: dict[str, Any]) -> None:
    with open(f"/proc/{to['pid']}/environ", "rb") as file:
        file.read()


@act("read another process's memory as a file", *since(1))
def read_memory_file(to: dict[str, Any]) -> None:
    with open(f"/proc/{to['pid']}/mem", "rb", buffering=0) as file:
        file.seek(to["address"])
        file.read(8)


@act("list a folder", *since(1))
def list_folder(to: dict[str, Any]) -> None:
    os.listdir(to["folder"])


@act("write over a file", *since(1))
def write(to: dict[str, Any]) -> None:
    os.close(os.open(to["secret"], os.O_WRONLY))


@act("make a file", *since(1))
def create(to: dict[str, Any]) -> None:
    os.close(os.open(f"{to['folder']}/created", os.O_WRONLY | os.O_CREAT))


@act("make a file without a name", *since(1))
def create_unnamed(to: dict[str, Any]) -> None:
    os.close(os.open(to["folder"], os.O_WRONLY | os.O_TMPFILE))


@act("empty a file", *since(3))
def truncate(to: dict[str, Any]) -> None:
    os.truncate(to["output"], 0)


@act("empty a file as it is opened", *since(1))
def truncate_by_opening(to: dict[str, Any]) -> None:
    os.close(os.open(to["output"], os.O_WRONLY | os.O_TRUNC))


@act("remove a file", *since(1))
def unlink(to: dict[str, Any]) -> None:
    os.unlink(to["removed"])


@act("rename a file", *since(1))
def rename(to: dict[str, Any]) -> None:
    os.rename(to["output"], to["output"] + ".moved")
    os.rename(to["output"] + ".moved", to["output"])


@act("give a file a second name", *since(1))
def link(to: dict[str, Any]) -> None:
    os.link(to["output"], to["folder"] + "/linked")
    os.unlink(to["folder"] + "/linked")


@act("make a symbolic link", *since(1))
def symlink(to: dict[str, Any]) -> None:
    os.symlink("/etc", to["folder"] + "/symlinked")
    os.unlink(to["folder"] + "/symlinked")


@act("make a folder", *since(1))
def mkdir(to: dict[str, Any]) -> None:
    os.mkdir(to["folder"] + "/made")
    os.rmdir(to["folder"] + "/made")


@act("make a pipe with a name", *since(1))
def mkfifo(to: dict[str, Any]) -> None:
    os.mkfifo(to["folder"] + "/pipe")
    os.unlink(to["folder"] + "/pipe")


@act("change a file's permissions")
def chmod(to: dict[str, Any]) -> None:
    os.chmod(to["output"], 0o600)


@act("change a file's owner")
def chown(to: dict[str, Any]) -> None:
    os.chown(to["output"], -1, os.getgid())


@act("change a file's times")
def utime(to: dict[str, Any]) -> None:
    os.utime(to["output"], (0, 0))


@act("set an extended attribute of a file")
def setxattr(to: dict[str, Any]) -> None:
    os.setxattr(to["output"], "user.mark", b"1")


@act("learn a file's size and times")
def stat(to: dict[str, Any]) -> None:
    os.stat(to["output"])


@act("read where a link leads")
def readlink(_to: dict[str, Any]) -> None:
    os.readlink("/proc/self/exe")


@act("change the working folder")
def chdir(to: dict[str, Any]) -> None:
    os.chdir(to["folder"])
    os.chdir("/")


@act("watch a folder")
def watch_folder(_to: dict[str, Any]) -> None:
    os.close(call("inotify_init1", 0))


@act("make a file in memory, to run it")
def memfd(_to: dict[str, Any]) -> None:
    os.close(call("memfd_create", b"code\0", 0))
