"""python -m hydro.client.suite: a suite on free ports that ends with its standard input and leaves nothing behind.

Prints one line of JSON, where its parts are, once all of them serve.
"""

import json
import sys

import structlog

from hydro.client.suite.plan import SuitePlan
from hydro.client.suite.ports import Addresses
from hydro.client.suite.run import run_suite
from hydro.client.suite.settings import SuiteSettings
from hydro.client.suite.supervisor import Report
from hydro.kit.errors import HydroError
from hydro.kit.logging import configure_logging


def _announce(plan: SuitePlan) -> None:
    addresses = plan.addresses
    told = {
        "coordinator": addresses.coordinator,
        "tuner": addresses.tuner,
        "squeezers": addresses.squeezers,
        "gate_directory": str(plan.gate_directory),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Runs the suite."""
    settings = SuiteSettings()
    configure_logging("suite", settings.log_level)
    log = structlog.get_logger()

    def listen(report: Report) -> None:
        log.info("child", name=report.child, happening=report.happening.value, detail=report.detail)

    try:
        run_suite(
            settings,
            Addresses.free(settings.squeezers),
            on_ready=_announce,
            listener=listen,
            until_stdin_closes=True,
            temporary=True,
        )
    except HydroError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
