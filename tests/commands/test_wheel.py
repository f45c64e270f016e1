"""A wheel carries all that the service needs: installed in an empty directory it judges an order."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_a_wheel_in_an_empty_directory_checks_an_order(tmp_path: Path) -> None:
    built, installed = tmp_path / "built", tmp_path / "installed"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert (installed / "cards" / "ketamine" / "rules" / "bp-uncontrolled" / "rule.yaml").is_file()
    order = CHECKOUT / "examples" / "tenfold-pump-slip.json"
    code = (
        "import sys, cds_service\n"
        f"assert cds_service.__file__.startswith({str(installed)!r}), cds_service.__file__\n"
        "from cds_service.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    check = [sys.executable, "-c", code, "check", str(order), "--now", "2026-11-22T10:00:00Z"]
    ran = subprocess.run(check, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "rate-exceeds-ceiling" in ran.stdout, ran.stderr
