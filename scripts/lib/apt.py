# SPDX-License-Identifier: MIT OR Apache-2.0
"""Debian packages through a private apt state directory.

The machine's own package sources, lists and architectures stay as they are.
The mirror is the one the machine already uses, the release the one in
/etc/os-release: no host name is written down here.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import tools

KEYRINGS = {
    "debian": ("/usr/share/keyrings/debian-archive-keyring.gpg",
               "/usr/share/keyrings/debian-archive-keyring.pgp"),
    "ubuntu": ("/usr/share/keyrings/ubuntu-archive-keyring.gpg",),
}


class AptError(Exception):
    """Something apt could not do; the text is for the person at the console."""


class NoNetwork(AptError):
    """No mirror can be reached; another suite or another try would not help."""


# What apt says of a host that it cannot reach, the host behind it.
UNREACHABLE = re.compile(r"(?:resolving|[Cc]ould not resolve|[Cc]annot initiate the connection to|[Cc]ould not connect to"
                         r"|[Uu]nable to connect to) '?([\w.-]+)")


def failure(command: list[str], text: str) -> AptError:
    """Returns the error of a command, from what it printed."""
    host = UNREACHABLE.search(text)
    if host:
        return NoNetwork(f"no network: cannot reach {host.group(1)}")
    first = next((line[2:].strip() for line in text.splitlines() if line.startswith("E:")), " ".join(command))
    return AptError(f"failed: {first}")


def os_release() -> dict[str, str]:
    """/etc/os-release as a dictionary; empty where there is none."""
    fields = {}
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.strip().partition("=")
                fields[key] = value.strip("\"'")
    except OSError:
        pass
    return fields


def usable() -> bool:
    """Returns whether this is a Debian-like machine with apt."""
    return shutil.which("apt-get") is not None and os_release().get("ID") in KEYRINGS


def base_suites() -> list[tuple[str, str, str]]:
    """(mirror, suite, component) of the distribution's own entries on this machine."""
    known = _targets()
    found = [(mirror, suite, component) for mirror, suite, component, origin in known
             if origin in ("Debian", "Ubuntu")]
    if found:
        return found
    # Before the first `apt-get update` no origin is known: go by the names.
    names = (os_release().get("VERSION_CODENAME", "stable"), "stable", "testing", "sid", "unstable")
    return [(mirror, suite, component) for mirror, suite, component, _ in _targets("--no-release-info")
            if component in ("main", "universe")
            and (suite in names or suite.startswith(names[0] + "-"))]


def _targets(*options: str) -> list[tuple[str, ...]]:
    """(mirror, suite, component, origin) of every package source of this machine."""
    text = tools.output(["apt-get", "indextargets", *options, "--format",
                         "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)", "Created-By: Packages"])
    return [tuple(line.split("|")) for line in sorted(set((text or "").splitlines()))]


def main_mirror() -> str:
    """Returns the mirror that serves the release itself (not security, not updates)."""
    names = (os_release().get("VERSION_CODENAME"), "stable", "testing", "sid", "unstable")
    for mirror, suite, _ in base_suites():
        if suite in names:
            return mirror
    raise AptError("no mirror of this release in the machine's apt configuration")


class Apt:
    """One private set of package lists, filled from the suites given to `update`."""

    def __init__(self, name: str, architecture: str | None = None) -> None:
        self.architecture = architecture
        self.dir = os.path.join(tools.CACHE, "apt", name)
        for sub in ("lists/partial", "archives/partial"):
            os.makedirs(os.path.join(self.dir, sub), exist_ok=True)

    def __enter__(self) -> "Apt":
        return self

    def __exit__(self, *_) -> None:
        # The lists are large, and stale by the next time they are wanted.
        shutil.rmtree(self.dir, ignore_errors=True)

    def _options(self) -> list[str]:
        settings = {
            "Dir::Etc::sourcelist": os.path.join(self.dir, "sources.list"),
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": os.path.join(self.dir, "lists"),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # The project may lie where apt's own user cannot go.
            "APT::Sandbox::User": "",
        }
        if self.architecture:
            # Of these lists only: the machine's own architectures are dpkg's, and stay.
            settings["APT::Architecture"] = settings["APT::Architectures"] = self.architecture
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def _run(self, command: list[str], source=subprocess.DEVNULL, shows: bool = True, **extra) -> None:
        # The pages of progress are shown only after a failure.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=source, **extra)
        if done.returncode:
            text = done.stdout.decode("utf-8", "replace")
            error = failure(command, text)
            if shows and not isinstance(error, NoNetwork):
                sys.stderr.write(text)
            raise error

    def update(self, suites: list[tuple[str, str, str]]) -> None:
        """Fetches the package lists of these suites, and of no other."""
        if not suites:
            raise AptError("the machine's apt configuration names no mirror of its release")
        keys = [k for k in KEYRINGS[os_release()["ID"]] if os.path.exists(k)]
        option = f"[signed-by={keys[0]}] " if keys else ""
        with open(os.path.join(self.dir, "sources.list"), "w", encoding="utf-8") as file:
            for mirror, suite, component in suites:
                file.write(f"deb {option}{mirror} {suite} {component}\n")
        command = ["apt-get", *self._options(), "-qq", "-o", "APT::Update::Error-Mode=any",
                   "-o", f"Dir::Cache={self.dir}"]
        # Retries wait longer and longer. Without a network the first try says so at once.
        try:
            self._run([*command, "-o", "Acquire::Retries=0", "update"], shows=False)
        except NoNetwork:
            raise
        except AptError:
            self._run([*command, "update"])

    def versions(self, package: str) -> list[tuple[str, str]]:
        """(version, suite) of every candidate, newest first."""
        text = tools.output(["apt-cache", *self._options(), "madison", package]) or ""
        rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
        # The third column reads "mirror suite/component arch Packages".
        return [(row[1], row[2].split()[1].split("/")[0]) for row in rows
                if len(row) == 3 and row[2].endswith("Packages")]

    def install(self, packages: list[str], become_root: list[str], suite: str | None) -> None:
        """Installs packages on the machine, with the dependencies apt works out."""
        command = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get",
                   *self._options(), "-y", "-qq", "-o", "Dpkg::Use-Pty=0",
                   "--no-install-recommends"]
        command += ["-t", suite] if suite else []
        self._run([*command, "install", *packages])

    def dependency(self, package: str, prefix: str) -> str:
        """Returns the dependency of `package`, newest version first, whose name begins with `prefix`."""
        text = tools.output(["apt-cache", *self._options(), "show", package]) or ""
        for line in text.splitlines():
            if line.startswith("Depends:"):
                for entry in line[len("Depends:"):].split(","):
                    name = entry.split()[0].split(":")[0]
                    if name.startswith(prefix):
                        return name
        raise AptError(f"{package} does not depend on any {prefix}...")

    def unpack_files(self, package: str, pattern: str, into: str) -> None:
        """Downloads one package and unpacks the files that match below `into`, and nothing else of it."""
        download = os.path.join(self.dir, "download")
        shutil.rmtree(download, ignore_errors=True)
        os.makedirs(download)
        self._run(["apt-get", *self._options(), "-qq", "download", package], cwd=download)
        for name in os.listdir(download):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", os.path.join(download, name)],
                                  stdout=subprocess.PIPE) as tar:
                self._run(["tar", "-x", "-C", into, "--wildcards", pattern], source=tar.stdout)
        shutil.rmtree(download)

    def unpack(self, package: str, version: str, into: str) -> None:
        """Downloads one package and unpacks it below `into`; the machine sees nothing of it."""
        shutil.rmtree(os.path.join(self.dir, "download"), ignore_errors=True)
        os.makedirs(os.path.join(self.dir, "download"))
        self._run(["apt-get", *self._options(), "-qq", "download", f"{package}={version}"],
                  cwd=os.path.join(self.dir, "download"))
        for name in os.listdir(os.path.join(self.dir, "download")):
            self._run(["dpkg-deb", "-x", os.path.join(self.dir, "download", name), into])
        shutil.rmtree(os.path.join(self.dir, "download"))
