"""What `make e2e` tests: the image; then, on a node of its own, seawall as its documentation says to install it."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e import images
from e2e.images import Image, archive, build_agent, built
from e2e.node import PAUSE, Node, node
from e2e.objects import AGENT_IMAGE, SEAWALL_IMAGE
from e2e.release import HOME, installed
from e2e.table import Row, Table
from e2e.team import AGENT, NAMESPACE, Team
from kubernetes_binaries import CACHE

TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = Table()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        figure = ", ".join(str(value) for name, value in item.user_properties if name == "figure")
        name = item.name.removeprefix("test_").replace("_", " ")
        item.config.stash[TABLE].rows.append(Row(name, call.duration, report.outcome, figure))
    team = item.funcargs.get("team") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(team, Team):
        report.sections.append(("the cluster then", _seen(team)))
    return report


def _seen(team: Team) -> str:
    questions = (
        "get pods -A -o wide", "get agentroutes,upstreams -A", "get events -A --sort-by=.lastTimestamp",
        f"logs -n {NAMESPACE} -l app={AGENT} -c seawall --tail=6",
        f"logs -n {HOME} -l app.kubernetes.io/component=operator --tail=30",
    )  # fmt: skip
    return "\n".join(team.kube.run(*one.split()).stdout[-4000:] for one in questions)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("checks")
    for line in config.stash[TABLE].lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
def image(table: Table) -> Iterator[Image]:
    with ExitStack() as stack:
        with table.timed("the image is built"):
            made = stack.enter_context(built())
        yield made


@pytest.fixture(scope="session")
def loaded(image: Image, table: Table) -> Iterator[Node]:
    """A node that has all images."""
    with table.timed("the agent's image is built"):
        build_agent()
    with tempfile.TemporaryDirectory(dir=CACHE / "e2e") as folder:
        called = {images.SEAWALL: SEAWALL_IMAGE, images.AGENT: AGENT_IMAGE, images.PAUSE: PAUSE}
        files = [archive(name, other, Path(folder)) for name, other in called.items()]
        with node() as running:
            table.rows.append(Row("the node is Ready", running.ready_after, "done"))
            with table.timed("images are loaded"):
                for file in files:
                    running.ctr("images", "import", str(file))
                    file.unlink()
            yield running


@pytest.fixture(scope="session")
def team(loaded: Node, table: Table) -> Team:
    with table.timed("seawall is installed, and the first call answered"):
        return installed(loaded)
