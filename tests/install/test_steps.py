"""Install, upgrade, roll back and uninstall in a scratch root: what is left afterwards, and what a failure leaves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from small_wheelhouse import small_wheelhouse

from install import files, steps, versions
from install.errors import InstallError
from install.layout import UNITS, Layout
from install.services import Services
from install.versions import COMPLETE, former, in_use
from install.wheelhouse import About, seal, this_python

MINE = 'bundle = "mine"\n'


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_wheelhouse(tmp_path_factory.mktemp("first") / "wheelhouse")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_wheelhouse(tmp_path_factory.mktemp("second") / "wheelhouse", "1.1")
    (folder / "systemd/edge-cxr-retain.timer").unlink()
    (folder / "systemd/edge-cxr-new.timer").write_text("[Timer]\n")
    seal(folder, About("1.1", this_python(), os.uname().machine))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path, newer: Path) -> Path:
    """A root with the first version in use and the newer one beside it, to be copied: each pip takes seconds."""
    root = tmp_path_factory.mktemp("made") / "root"
    steps.install(Layout(root), wheelhouse)
    versions.add_version(Layout(root), newer)
    return root


@pytest.fixture
def layout(made: Path, tmp_path: Path) -> Layout:
    shutil.copytree(made, tmp_path / "root", symlinks=True)
    return Layout(tmp_path / "root")


def tree(root: Path) -> dict[str, object]:
    """Every file with its inode and time of change: what was written again differs."""
    found = {}
    for path in sorted(root.rglob("*")):
        told = path.lstat()
        found[str(path.relative_to(root))] = path.readlink() if path.is_symlink() else (told.st_ino, told.st_mtime_ns)
    return found


def says(layout: Layout) -> str:
    """What the installed program answers, by the link that the units use."""
    asked = [layout.current / "bin/python", "-I", "-m", "edge.cli", "--version"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_everything_is_where_the_units_expect_it(layout: Layout) -> None:
    assert says(layout) == "edge-cxr, version 1.0\n"
    assert layout.command.readlink() == Path("/opt/edge-cxr/venv/bin/edge-cxr")
    assert layout.configuration.read_text().count('bundle = "active"') == 1
    laid = {path.name for path in layout.path_of(UNITS).rglob("*") if path.is_file()}
    assert {"edge-cxr.service", "edge-cxr-backup.timer", "10-one-shot.conf", "20-build.conf"} <= laid
    assert "gpu.conf" not in laid
    assert layout.path_of("usr/local/lib/sysusers.d/edge-cxr.conf").exists()
    assert not (layout.current / "bin/pip").exists()


def test_nothing_installed_knows_the_scratch_root(layout: Layout, made: Path) -> None:
    """The box's paths are in scripts and compiled modules; only pyvenv.cfg may tell how it was made."""
    script = (layout.current / "bin/edge-cxr").read_text().splitlines()[0]
    version = layout.current.readlink()
    assert script == f"#!/opt/edge-cxr/{version}/bin/python"
    naming = [path for path in layout.program.rglob("*") if path.is_file() and bytes(made) in path.read_bytes()]
    assert {path.name for path in naming} <= {"pyvenv.cfg"}


def test_again_changes_nothing_of_the_program(layout: Layout, wheelhouse: Path) -> None:
    layout.configuration.write_text(MINE)
    before, others = tree(layout.current.resolve()), tree(layout.path_of("etc"))
    assert steps.install(layout, wheelhouse) == in_use(layout)
    assert (tree(layout.current.resolve()), tree(layout.path_of("etc"))) == (before, others)
    assert former(layout) is None
    assert layout.configuration.read_text() == MINE


def test_an_upgrade_and_the_way_back(layout: Layout, newer: Path) -> None:
    layout.configuration.write_text(MINE)
    units, first = layout.path_of(UNITS), in_use(layout)
    assert steps.install(layout, newer, gpu=True) == in_use(layout) != first
    assert says(layout) == "edge-cxr, version 1.1\n"
    assert (former(layout), layout.configuration.read_text()) == (first, MINE)
    assert ((units / "edge-cxr-new.timer").exists(), (units / "edge-cxr-retain.timer").exists()) == (True, False)
    assert (units / "edge-cxr.service.d/gpu.conf").exists()
    assert steps.roll_back(layout) == first
    assert says(layout) == "edge-cxr, version 1.0\n"
    assert ((units / "edge-cxr-new.timer").exists(), (units / "edge-cxr-retain.timer").exists()) == (False, True)
    assert (units / "edge-cxr-build.service.d/gpu.conf").exists()  # of the machine, not of a version
    steps.roll_back(layout)
    assert says(layout) == "edge-cxr, version 1.1\n"


def test_only_two_versions_are_kept(layout: Layout, newer: Path) -> None:
    (layout.program / "0.9-00000000").mkdir()
    steps.install(layout, newer)
    kept = [path.name[:3] for path in sorted(layout.program.iterdir()) if path.is_dir() and not path.is_symlink()]
    assert kept == ["1.0", "1.1"]


def test_a_version_that_does_not_start_is_never_used(layout: Layout, newer: Path) -> None:
    (program,) = layout.program.glob("1.1-*/lib/*/site-packages/edge/cli.py")
    program.write_text("raise SystemExit('broken')")
    before = tree(layout.path_of("usr")), layout.current.readlink()
    with pytest.raises(InstallError, match=r"(?s)1\.1-\w+ does not start; 1\.0-\w+ stays in use.*broken"):
        steps.install(layout, newer)
    assert (tree(layout.path_of("usr")), layout.current.readlink()) == before


def test_nor_one_that_does_not_accept_the_configuration(layout: Layout, newer: Path) -> None:
    layout.configuration.write_text("wrong = 1\n")
    before = tree(layout.path_of("usr")), layout.current.readlink()
    with pytest.raises(InstallError, match=r"(?s)does not accept .*unknown key 'wrong'"):
        steps.install(layout, newer)
    assert (tree(layout.path_of("usr")), layout.current.readlink()) == before


def test_one_that_was_cut_short_is_made_again(layout: Layout, wheelhouse: Path) -> None:
    version = in_use(layout)
    assert version is not None
    (version / COMPLETE).unlink()
    shutil.rmtree(version / "lib")
    steps.install(layout, wheelhouse)
    assert says(layout) == "edge-cxr, version 1.0\n"


def test_cut_short_between_the_links_it_goes_on(layout: Layout, newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each rename in turn; afterwards the same command finishes it, and the link was never without its target."""
    replace, first = Path.replace, in_use(layout)
    for last in range(1, 40):
        left = [last]

        def until(path: Path, to: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return replace(path, to)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", until)
            try:
                steps.install(layout, newer)
            except KeyboardInterrupt:
                assert in_use(layout) is not None
                continue
        break
    assert last > 10  # one for each file, and two for the links
    assert (says(layout), former(layout)) == ("edge-cxr, version 1.1\n", first)


def test_uninstalled_only_what_is_the_hospitals_is_left(layout: Layout) -> None:
    layout.state.mkdir(parents=True)
    own = layout.path_of("etc/systemd/system/edge-cxr.service.d/override.conf")
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\n")
    steps.uninstall(layout)
    left = [path for path in layout.root.rglob("*") if path.is_file() or path.is_symlink()]
    assert sorted(left) == sorted([layout.configuration, own])
    assert layout.state.is_dir()
    steps.uninstall(layout, purge=True)
    assert not (layout.configuration.parent.exists() or layout.state.exists())


def test_an_uninstallation_that_was_cut_short_goes_on(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each file that it removes in turn."""
    unlink = Path.unlink
    for last in range(1, 40):
        left = [last]

        def until(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            unlink(path, missing_ok)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", until)
            try:
                steps.uninstall(layout)
            except KeyboardInterrupt:
                continue
        break
    assert last > 10
    left_over = [path for path in layout.root.rglob("*") if path.is_file() or path.is_symlink()]
    assert left_over == [layout.configuration]
    assert not layout.program.exists()


def test_what_others_keep_beside_the_versions_is_left(layout: Layout, newer: Path) -> None:
    theirs = layout.program / "site-bundle/manifest.json"
    theirs.parent.mkdir()
    theirs.write_text("{}")
    steps.install(layout, newer)
    steps.uninstall(layout)
    assert [path for path in layout.program.rglob("*") if path.is_file()] == [theirs]


def test_a_wheelhouse_that_lacks_a_unit_is_refused(layout: Layout, tmp_path: Path) -> None:
    partial = small_wheelhouse(tmp_path / "wheelhouse", "3.0")
    (partial / "systemd/edge-cxr.service").unlink()
    with pytest.raises(InstallError, match="not as it was made"):
        steps.install(layout, partial)


class Falling(Services):
    """Of a machine whose daemon starts with the older versions alone."""

    def __init__(self, layout: Layout, *, healthy: set[str]) -> None:
        super().__init__(layout)
        self._layout, self._healthy = layout, healthy
        self.running_with = "1.0"

    def is_running(self) -> bool:
        return True

    def restart(self) -> bool:
        version = in_use(self._layout)
        assert version is not None
        self.running_with = version.name.split("-")[0]
        return self.running_with in self._healthy


def test_after_an_upgrade_that_failed_the_way_back_is_as_before(layout: Layout, newer: Path, wheelhouse: Path) -> None:
    oldest, first = layout.program / "0.9-00000000", in_use(layout)
    assert first is not None
    shutil.copytree(first, oldest, symlinks=True)
    layout.previous.symlink_to(oldest.name)
    services = Falling(layout, healthy={"0.9", "1.0"})
    version = versions.add_version(layout, newer)
    with pytest.raises(InstallError, match="back in use and runs"):
        steps._switch(layout, version, services, gpu=None)
    assert (in_use(layout), former(layout), services.running_with) == (first, oldest, "1.0")
    assert not layout.restart_due.exists()


def test_a_restart_that_was_cut_short_is_made_up_for(layout: Layout, newer: Path) -> None:
    class Killed(Falling):
        def restart(self) -> bool:
            raise KeyboardInterrupt

    first, version = in_use(layout), versions.add_version(layout, newer)
    with pytest.raises(KeyboardInterrupt):
        steps._switch(layout, version, Killed(layout, healthy=set()), gpu=None)
    assert in_use(layout) == version
    services = Falling(layout, healthy={"1.0", "1.1"})
    steps._switch(layout, version, services, gpu=None)
    assert services.running_with == "1.1"
    assert not layout.restart_due.exists()
    with pytest.raises(KeyboardInterrupt):
        steps._switch(layout, first, Killed(layout, healthy=set()), gpu=None)
    with pytest.raises(InstallError, match="back in use and runs"):
        steps._switch(layout, first, Falling(layout, healthy={"1.1"}), gpu=None)
    assert in_use(layout) == version


def test_a_command_of_somebody_elses_is_left(wheelhouse: Path, layout: Layout) -> None:
    layout.command.unlink()
    layout.command.write_text("theirs")
    steps.install(layout, wheelhouse)
    steps.uninstall(layout)
    assert layout.command.read_text() == "theirs"


def test_two_at_a_time_are_refused(layout: Layout, wheelhouse: Path) -> None:
    with steps._alone(layout), pytest.raises(InstallError, match="another installation"):
        steps.install(layout, wheelhouse)


def test_without_a_former_version_there_is_no_way_back(layout: Layout) -> None:
    with pytest.raises(InstallError, match="no version before"):
        steps.roll_back(layout)


def test_restarts_grow_rarer_where_systemd_knows_how(layout: Layout) -> None:
    version, drop_in = in_use(layout), layout.path_of(f"{UNITS}/edge-cxr.service.d/restart.conf")
    assert version is not None
    for systemd, expected in ((252, False), (254, True), (None, False)):
        files.lay_down(layout, version, files.Machine(systemd))
        assert drop_in.exists() == expected


def test_a_former_version_is_known_by_its_link_alone(layout: Layout) -> None:
    layout.previous.symlink_to("gone")
    assert former(layout) is None
    versions.prune(layout)
    assert says(layout) == "edge-cxr, version 1.0\n"


def test_a_wheelhouse_for_another_machine_is_refused(layout: Layout, tmp_path: Path) -> None:
    other = small_wheelhouse(tmp_path / "wheelhouse", "3.0")
    about = other / "about.json"
    about.write_text(about.read_text().replace(os.uname().machine, "riscv64"))
    with pytest.raises(InstallError, match=r"is for Python .* on riscv64"):
        steps.install(layout, other)
    about.unlink()
    with pytest.raises(InstallError, match="no complete wheelhouse"):
        steps.install(layout, other)


def test_a_damaged_wheel_is_refused(layout: Layout, tmp_path: Path) -> None:
    damaged, folders = small_wheelhouse(tmp_path / "wheelhouse", "3.0"), sorted(layout.program.iterdir())
    (wheel,) = (damaged / "wheels").glob("small-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"more")
    with pytest.raises(InstallError, match="wheelhouse is damaged"):
        steps.install(layout, damaged)
    assert sorted(layout.program.iterdir()) == folders  # what was unpacked of it takes no room
    assert says(layout) == "edge-cxr, version 1.0\n"
