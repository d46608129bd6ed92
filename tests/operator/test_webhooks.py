"""What is written into the webhooks' configurations, and what is left alone."""

import base64
from typing import Any

from seawall_operator.webhooks import patched

KIND = "ValidatingWebhookConfiguration"
CA = base64.b64encode(b"new").decode()


def configuration(*bundles: str, **annotations: str) -> dict[str, Any]:
    hooks = [
        {"name": f"{number}.seawall.dev", "clientConfig": {"caBundle": bundle, "service": {"name": "s"}}, "rules": []}
        for number, bundle in enumerate(bundles)
    ]
    return {"metadata": {"name": "seawall-operator", "annotations": annotations}, "webhooks": hooks}


def test_every_webhook_gets_the_authority_and_nothing_else() -> None:
    body = patched(configuration("", CA), KIND, "new")
    assert body is not None and body["kind"] == KIND and body["metadata"] == {"name": "seawall-operator"}
    assert body["webhooks"] == [
        {"name": "0.seawall.dev", "clientConfig": {"caBundle": CA}},
        {"name": "1.seawall.dev", "clientConfig": {"caBundle": CA}},
    ]


def test_what_is_right_already_is_not_written_again() -> None:
    assert patched(configuration(CA, CA), KIND, "new") is None


def test_what_cert_manager_looks_after_is_left_to_it() -> None:
    annotated = {"cert-manager.io/inject-ca-from": "seawall/seawall-operator"}
    assert patched(configuration("old", **annotated), KIND, "new") is None
