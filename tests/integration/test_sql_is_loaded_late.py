"""sqlglot costs 0.1 s and 18 MB: policies without a warehouse go without it, those with one have it at the start."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

PROGRAM = """
    import asyncio, os, sys
    from pathlib import Path
    from seawall.policy import evaluate, load_text
    from seawall.service import Address, Options, Service

    async def main():
        loaded = evaluate(load_text(open(sys.argv[1]).read(), "policy.yaml"))
        here = Address("127.0.0.1", 0)
        service = Service(Options((), here, here, Path(sys.argv[1] + ".sock")), log_fd=os.open(os.devnull, os.O_WRONLY))
        try:
            await service.start(loaded.policy)
            print("sqlglot" in sys.modules)
        finally:
            await service.close()

    asyncio.run(main())
"""


@pytest.mark.parametrize(("dialect", "loaded"), [("OpenAI", "False"), ("Generic", "False"), ("Trino", "True")])
def test_only_a_warehouse_brings_the_parser_in(tmp_path: Path, dialect: str, loaded: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        dedent(f"""
            apiVersion: seawall.dev/v1alpha1
            kind: Upstream
            metadata: {{name: a}}
            spec: {{dialect: {dialect}, baseURL: "http://127.0.0.1:1"}}
            ---
            apiVersion: seawall.dev/v1alpha1
            kind: AgentRoute
            metadata: {{name: r}}
            spec: {{rules: [{{matches: [{{path: {{value: /a}}}}], backendRefs: [{{name: a}}]}}]}}
        """)
    )
    done = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), str(policy)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == loaded
