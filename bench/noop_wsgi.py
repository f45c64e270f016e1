"""What the workers of the no-op load, as cds_service.web.wsgi is for the service; and the program that serves it.

python -m bench.noop_wsgi PORT WORKERS
"""

from __future__ import annotations

import sys

from bench.noop import create_app
from cds_service import collector

app = create_app()
app.test_client().post("/get-json/2", json={})
# As in the service's workers; without it the slowest answers would be the collector's.
collector.settle()


if __name__ == "__main__":
    from cds_service.commands.serve import run
    from cds_service.settings import Settings

    run("bench.noop_wsgi:app", Settings(port=int(sys.argv[1]), workers=int(sys.argv[2]), spare_workers=0))
