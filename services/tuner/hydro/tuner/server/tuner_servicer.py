"""TunerService: parse, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import empty_pb2

from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2, tuner_service_pb2_grpc
from hydro.kit.values import values_of
from hydro.tuner.building.surrogate_cache import SurrogateCache
from hydro.tuner.planning.plan import plan_bundles
from hydro.tuner.server import convert
from hydro.tuner.server.validation import check_create_surrogate, check_plan_bundles, check_transfer
from hydro.tuner.shrinking.transfer import transfer_hyperparameters

Context = grpc.aio.ServicerContext[Any, Any]


class TunerServicer(tuner_service_pb2_grpc.TunerServiceServicer):
    """Surrogates, plans and transfers."""

    def __init__(self, cache: SurrogateCache) -> None:
        self._cache = cache

    async def CreateSurrogate(  # noqa: N802
        self, request: tuner_service_pb2.CreateSurrogateRequest, context: Context
    ) -> surrogate_pb2.Surrogate:
        """Starts to build a surrogate, or gives the one there is."""
        check_create_surrogate(request)
        name = convert.surrogate_name(request)
        return convert.surrogate_to_message(self._cache.create(name, convert.build_request(request)))

    async def GetSurrogate(  # noqa: N802
        self, request: tuner_service_pb2.GetSurrogateRequest, context: Context
    ) -> surrogate_pb2.Surrogate:
        """Gives a surrogate as it is."""
        return convert.surrogate_to_message(self._cache.get(request.name))

    async def WatchSurrogate(  # noqa: N802
        self, request: tuner_service_pb2.WatchSurrogateRequest, context: Context
    ) -> AsyncIterator[surrogate_pb2.Surrogate]:
        """Gives a surrogate as it is, then every change, to its end."""
        async for surrogate in self._cache.watch(request.name):
            yield convert.surrogate_to_message(surrogate)

    async def DeleteSurrogate(  # noqa: N802
        self, request: tuner_service_pb2.DeleteSurrogateRequest, context: Context
    ) -> empty_pb2.Empty:
        """Forgets a surrogate and ends its build."""
        await self._cache.delete(request.name)
        return empty_pb2.Empty()

    async def PlanBundles(  # noqa: N802
        self, request: tuner_service_pb2.PlanBundlesRequest, context: Context
    ) -> tuner_service_pb2.PlanBundlesResponse:
        """Groups trials into bundles."""
        check_plan_bundles(request)
        profile, roles = convert.profile(request.surrogate.profile), convert.roles(request.surrogate.roles)
        trials, devices = convert.planned_trials(request), convert.planned_devices(request)
        bundles = plan_bundles(profile, roles, trials, devices, request.max_steps)
        return convert.plan_to_message(bundles)

    async def TransferHyperparameters(  # noqa: N802
        self, request: tuner_service_pb2.TransferHyperparametersRequest, context: Context
    ) -> tuner_service_pb2.TransferHyperparametersResponse:
        """Tells what becomes of the surrogate's hyperparameters on the target."""
        check_transfer(request)
        transferred = transfer_hyperparameters(
            values_of(request.hyperparameters),
            convert.effects(request.surrogate.roles),
            request.surrogate.width,
            not_transferable=convert.not_transferable(request.search_space),
            fidelities=convert.fidelities(request.search_space),
            batch=convert.batch_change(request),
        )
        return convert.transferred_to_message(transferred)
