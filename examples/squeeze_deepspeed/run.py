"""A DeepSpeed pipeline with a study in its bubbles: `python examples/squeeze_deepspeed/run.py`.

Starts a suite with a squeezer for each stage and no other device, the pipeline (train.py) in four processes, and a
study of examples/digits.py, whose trials train in the pipeline's bubbles alone. On a CPU the stages are processes and
their GPUs simulated; with GPUs, stage and squeezer i are on GPU i.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from hydro.api.squeezer.v1 import squeezer_service_pb2, squeezer_service_pb2_grpc
from hydro.client import Client, DeviceKind, Study, asha, choice, loguniform, minimize, surrogate, uniform
from hydro.client.demo.background import BackgroundProcess
from hydro.client.suite.local import LocalSuite
from hydro.kit.channel import open_sync_channel

STAGES = 4
FIRST_SLOT_SECONDS, OTHER_SLOTS_SECONDS = 600, 60
HERE = Path(__file__).resolve().parent


def start_suite() -> LocalSuite:
    """A squeezer for each stage; but for the bubbles there is no device for trials."""
    settings = {"HYDRO_SQUEEZERS": str(STAGES), "HYDRO_COORDINATOR_DEVICES": "", "OMP_NUM_THREADS": "1"}
    if not torch.cuda.is_available():
        settings["HYDRO_SQUEEZER_GPU"] = "simulated"
    return LocalSuite.start(settings)


def start_pipeline(suite: LocalSuite, folder: Path) -> BackgroundProcess:
    """torchrun, with what the hook in train.py has to know."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(STAGES)),
        str(HERE / "train.py"),
    ]
    environment = {
        "HYDRO_PIPELINE_RUN": "residual",
        "HYDRO_SQUEEZER_ADDRESSES": ",".join(suite.squeezer_addresses),
        "HYDRO_GATE_DIRECTORY": str(suite.gate_directory),
        "TORCH_EXTENSIONS_DIR": str(extensions_folder()),
        "OMP_NUM_THREADS": "1",
    }
    return BackgroundProcess(command, environment, folder / "pipeline.log")


def extensions_folder() -> Path:
    """Where DeepSpeed keeps the op that it compiles at its first start."""
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR", Path(sys.prefix) / "deepspeed-extensions"))
    # Of a run that was killed meanwhile: this one would wait for it for good.
    for lock in folder.glob("*/lock"):
        lock.unlink(missing_ok=True)
    return folder


def wait_for_slots(client: Client, pipeline: BackgroundProcess) -> int:
    """Gives how many stages have bubbles worth offering: all of them, or those that do a minute after the first."""
    give_up_at, found = time.monotonic() + FIRST_SLOT_SECONDS, 0
    while found < STAGES and time.monotonic() < give_up_at:
        if pipeline.has_ended:
            sys.exit(f"the pipeline has ended:\n{pipeline.log()}")
        time.sleep(0.5)
        slots = [each for each in client.list_devices() if each.kind is DeviceKind.SLOT]
        if slots and not found:
            give_up_at = time.monotonic() + OTHER_SLOTS_SECONDS
        found = len(slots)
    if not found:
        sys.exit(f"no stage had a bubble within {FIRST_SLOT_SECONDS / 60:.0f} minutes:\n{pipeline.log()}")
    return found


def create_study(client: Client, trials: int) -> Study:
    """A residual net on handwritten digits; each batch size makes a program of its own."""
    return client.create_study(
        "squeezed",
        task="digits:Digits",
        source_path=str(HERE.parent),
        search_space={"lr": loguniform(1e-3, 1), "momentum": uniform(0.5, 0.99), "batch_size": choice([32, 64])},
        objective=minimize("validation_loss"),
        sampler="random",
        pruner=asha(min_steps=8, max_steps=32, eta=2),
        surrogate=surrogate(width=1 / 8),
        trials=trials,
        parallelism=trials,
    )


def print_summary(suite: LocalSuite, study: Study) -> None:
    """What came of the trials, what each squeezer has done, and what its stage has lost by it."""
    statistics, best = study.statistics, study.best_trial
    trials = ", ".join(f"{count} {state.lower()}" for state, count in sorted(statistics.trials_by_state.items()))
    found = ", ".join(f"{name} {value:.4g}" for name, value in sorted(best.hyperparameters.items()))
    print(f"\ntrials: {trials}; at most {statistics.max_fusion_count} fused into one program")
    print(f"best:   {study.objective.metric} {best.value:.4g} with {found}")
    print(f"steps:  {statistics.slot_trial_steps} of {statistics.trial_steps} in bubbles\n")
    print("stage  steps     bubbles  filled by trials  gates opened  step alone  with trials")
    for stage, address in enumerate(suite.squeezer_addresses):
        with open_sync_channel(address) as channel:
            stub = squeezer_service_pb2_grpc.SqueezerServiceStub(channel)
            told = stub.GetStatistics(squeezer_service_pb2.GetStatisticsRequest())
        used_percent = 100 * told.used_seconds / told.bubble_seconds if told.bubble_seconds else 0.0
        used = f"{told.used_seconds:.1f} s, {used_percent:.0f}%"
        alone, squeezed = (f"{1e3 * each:.1f} ms" for each in (told.blank_step_seconds, told.squeezed_step_seconds))
        print(
            f"{stage:>5}  {told.steps:>5}  {told.bubble_seconds:>8.1f} s  {used:>16}  {told.gates_opened:>12}"
            f"  {alone:>10}  {squeezed:>11}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=16)
    options = parser.parse_args()
    print(
        "starting the suite and the pipeline (its first start compiles an op of DeepSpeed: a minute or two)", flush=True
    )
    suite = start_suite()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="hydro-squeeze-") as folder,
            start_pipeline(suite, Path(folder)) as pipeline,
            Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client,
        ):
            # While the pipeline starts, the tuner shrinks the model.
            study = create_study(client, options.trials)
            print(f"{wait_for_slots(client, pipeline)} of {STAGES} stages have bubbles for trials")
            study.wait(progress=True, until=lambda _: pipeline.has_ended)
            if pipeline.has_ended:
                sys.exit(f"the pipeline has ended:\n{pipeline.log()}")
            print_summary(suite, study)
    finally:
        suite.stop()


if __name__ == "__main__":
    main()
