"""Where the API server is, from what a machine or a pod has."""

import json
from pathlib import Path
from typing import Any

import pytest

from seawall_operator.connection import Connection, NoCluster, find, from_kubeconfig


def config(folder: Path, **user: Any) -> Path:
    data = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k:6443/", "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "config"
    file.write_text(json.dumps(data))
    return file


def test_a_kubeconfig_names_files_beside_itself(tmp_path: Path) -> None:
    found = find({"KUBECONFIG": str(config(tmp_path, token="secret"))})
    assert (found.server, found.namespace, found.token()) == ("https://k:6443", "team", "secret")
    assert found.ca_file == tmp_path / "ca.pem"


def test_a_credential_is_in_no_repr(tmp_path: Path) -> None:
    assert "secret" not in repr(from_kubeconfig(config(tmp_path, token="secret")))


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    found = Connection("https://k", token_file=file)
    assert found.token() == "one"
    file.write_text("two\n")
    assert found.token() == "two"


@pytest.mark.parametrize("user", [{"exec": {"command": "x"}}, {"auth-provider": {"name": "x"}}])
def test_a_user_that_logs_in_with_a_program_is_refused(tmp_path: Path, user: dict[str, Any]) -> None:
    with pytest.raises(NoCluster, match="logs in with a program"):
        from_kubeconfig(config(tmp_path, **user))


def test_no_cluster_at_all_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="no usable kubeconfig"):
        find({"HOME": str(tmp_path)})
