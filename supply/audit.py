"""Looks for known vulnerabilities with pip-audit, and says plainly what could not be looked up.

pip-audit itself ends well where it could ask about no package at all: silence must not read as "none known".
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

FOUND, NOT_AUDITED = 1, 2


def report(dependencies: list[dict[str, Any]]) -> tuple[list[str], int]:
    """What to say, and the exit status: 0 all looked up and nothing known, 1 something is, 2 not all looked up."""
    lines = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for each in dependencies
        for fault in each.get("vulns", ())
    ]
    skipped = [each for each in dependencies if "skip_reason" in each]
    if skipped:
        names = ", ".join(each["name"] for each in skipped)
        lines.append(
            f"NOT AUDITED: {len(skipped)} of {len(dependencies)} packages could not be looked up ({names}); "
            "this says nothing of them"
        )
    if not lines:
        lines = [f"{len(dependencies)} packages looked up, no known vulnerability"]
    found = any(each.get("vulns") for each in dependencies)
    return lines, FOUND if found else NOT_AUDITED if skipped or not dependencies else 0


def main(tool: str, requirements: str) -> int:
    command = [
        tool,
        "--require-hashes",
        "--disable-pip",
        "-r",
        requirements,
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"NOT AUDITED: pip-audit could not look anything up ({why})")
        return NOT_AUDITED
    lines, status = report(dependencies)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
