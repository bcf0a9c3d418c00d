"""A caller that is killed with requests outstanding gets every reply when it comes back."""

from campaigns import replies


async def test_every_request_of_a_killed_caller_gets_its_reply(url: str, namespace: str) -> None:
    outcome = await replies.run(url, requests=300, kills=1, namespace=namespace)
    assert outcome.outstanding_at_first_kill == 300
    assert outcome.holds and outcome.answered == 300
