"""Ids of what a provider keeps: found where they are given out, and where they are named."""

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects._state import made, named

RESPONSE = "resp_0850765c843cca5300699cc47d93c0819089a181f"
CONVERSATION = "conv_6931d752e41c8191833fcaad1cf47055"


@pytest.mark.parametrize(
    "data",
    [
        f'{{"id": "{RESPONSE}", "object": "response"}}'.encode(),
        f'event: response.created\ndata: {{"response":{{"id":"{RESPONSE}"}}}}\n\n'.encode(),
    ],
)
def test_an_answer_gives_out_its_id_plain_or_streamed(data: bytes) -> None:
    assert made(data) == RESPONSE


def test_ids_of_other_kinds_and_short_words_are_not_state() -> None:
    assert made(b'{"id": "chatcmpl-0850765c843cca5300699cc4"}') == ""
    assert made(b'{"id": "file-size"}') == ""


def test_a_request_names_ids_in_path_and_body_each_once() -> None:
    body = f'{{"previous_response_id":"{RESPONSE}","conversation":{{"id":"{CONVERSATION}"}}}}'.encode()
    assert named(f"/responses/{RESPONSE}?stream=true", body) == (RESPONSE, CONVERSATION)
    assert named("/responses", b'{"input":"resp_ is a prefix"}') == ()


def test_generic_routes_keep_no_state() -> None:
    assert REGISTRY["Generic"].state_made(f'{{"id": "{RESPONSE}"}}'.encode(), []) == ""
