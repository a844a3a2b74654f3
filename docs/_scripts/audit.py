"""Known vulnerabilities of the installed packages, by pip-audit and the OSV database.

    python docs/_scripts/audit.py

Exits 0 if none is known, 1 if some are, and 2 with a sentence if nothing was audited, as without a network.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("pip-audit")), "--local", "--skip-editable"]
COMMAND += ["--vulnerability-service", "osv", "--progress-spinner", "off"]


def audit(command: list[str]) -> tuple[int, str]:
    """Exit code and text of an audit; pip-audit itself exits 1 both for a vulnerability and for a lost connection."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0 or done.stdout:
        return done.returncode, (done.stdout + done.stderr).strip()
    cause = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return 2, f"NOT AUDITED: pip-audit could not compare the packages with its database: {cause}"


if __name__ == "__main__":
    code, text = audit(COMMAND)
    print(text)
    sys.exit(code)
