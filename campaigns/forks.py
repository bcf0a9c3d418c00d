"""Processes that begin with their imports done, so that one that was killed is replaced within milliseconds."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(  # a fork runs its parent's main module too, so what that imports is here
    ["campaigns.saga_worker", "campaigns.task_worker", "eventlib.testing", "redis.asyncio", "rich.progress"]
)
