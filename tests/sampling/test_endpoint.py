"""A server in place of an engine: what is sent, what comes back, and what its refusals mean.

Run: pytest tests/sampling/test_endpoint.py
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import CanaryError, ConfigError, EngineDead, PreconditionError
from selfimprove.sampling import server as servers
from selfimprove.sampling.endpoint import EndpointSampler
from selfimprove.testing import tiny_llama
from selfimprove.types import Message, Policy, Sample, SampleRequest, SamplingParams


class Fake(ThreadingHTTPServer):
    """A server whose answers a test decides; it says "4" and ends, as ids too where ``ids`` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails: list[int] = []
        self.ids = self.vllm = True
        self.key = ""
        self.models = ["tiny"]
        self.adapters: list[str] = []
        self.logprob = -1.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def stop_now(self) -> None:
        self.shutdown()
        self.server_close()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for place, body in self.asked if place == path]


class Answer(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, *words: Any) -> None:
        pass

    def say(self, body: Any, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        if self.path == "/version":
            self.say({"version": "1"}, 200 if self.server.vllm else 404)
        elif self.server.key and self.headers.get("authorization") != f"Bearer {self.server.key}":
            self.say({"error": {"message": "bad key"}}, 401)
        else:
            adapters = [{"id": name, "parent": "tiny"} for name in self.server.adapters]
            self.say({"data": [*({"id": name} for name in self.server.models), *adapters]})

    def do_POST(self) -> None:
        fake = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fake.asked.append((self.path, body))
        if fake.fails:
            self.say({"error": {"message": "not now"}}, fake.fails.pop(0))
        elif self.path == "/v1/chat/completions":
            self.say({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]})
        elif self.path == "/v1/completions" and len(body["prompt"]) > 40:
            self.say({"error": {"message": "this model's maximum context length is 40"}}, 400)
        elif self.path == "/v1/completions":
            self.say({"choices": [self.choice(body)]})
        elif self.path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter") and fake.vllm:
            self.change(body["lora_name"], self.path.startswith("/v1/load"))
        else:
            self.say({"error": "no such call"}, 404)

    def change(self, name: str, load: bool) -> None:
        """As vLLM answers: 400 for what it holds already, 404 for what it does not hold."""
        fake = self.server
        if load == (name in fake.adapters):
            what = "has already been loaded" if load else "cannot be found"
            self.say({"error": {"message": f"The lora adapter '{name}' {what}."}}, 400 if load else 404)
            return
        (fake.adapters.append if load else fake.adapters.remove)(name)
        self.say("done")

    def choice(self, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"text": "4", "finish_reason": "stop", "stop_reason": None}
        if self.server.ids:
            found |= {"token_ids": [29, 2], "logprobs": {"token_logprobs": [-0.5, -0.25]}}
            given = {str(token): {"logprob": self.server.logprob} for token in body["prompt"]}
            found["prompt_logprobs"] = [None, *[given] * (len(body["prompt"]) - 1)]
        return found


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.stop_now()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(str(tmp_path_factory.mktemp("tiny") / "model"), hidden_size=32, layers=1, heads=2)


@pytest.fixture
def sampler(fake: Fake) -> EndpointSampler:
    return EndpointSampler({"endpoint": {"url": fake.url, "in_flight": 4}}, {})


def request(text: str = "2+2=", count: int = 1, prefix: str = "") -> SampleRequest:
    return SampleRequest(
        "k", "p", (Message("text", text),), tuple(range(count)), tuple(range(100, 100 + count)), "", prefix
    )


def drawn(sampler: EndpointSampler, asked: SampleRequest, **params: Any) -> list[Sample]:
    found, left = sampler.pump([asked], SamplingParams(**params))
    while left:
        more, left = sampler.pump([], SamplingParams(**params))
        found += more
    return sorted(found, key=lambda sample: sample.index)


def test_the_policy_is_asked_by_ids_with_every_parameter(sampler: EndpointSampler, fake: Fake, tiny: str) -> None:
    sampler.load(Policy(tiny, "d"))
    fake.asked.clear()
    found = drawn(sampler, request(count=3), temperature=0.7, stop=("x",), extra={"min_p": 0.1}, logprobs=True)
    assert [sample.token_ids for sample in found] == [(29, 2)] * 3
    assert [sample.seed for sample in found] == [100, 101, 102]
    assert {sample.logprob for sample in found} == {-0.75}
    bodies = fake.bodies("/v1/completions")
    assert sorted(body["seed"] for body in bodies) == [100, 101, 102]
    assert bodies[0]["prompt"] == list(found[0].prompt_ids) and bodies[0]["model"] == "tiny"
    wanted = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "max_tokens": 256, "stop": ["x"], "min_p": 0.1}
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_tokens": 0}
    assert {**wanted, **neutral}.items() <= bodies[0].items()
    assert bodies[0]["stop_token_ids"] == [2] and bodies[0]["cache_salt"] == "d"


def test_a_server_without_ids_cannot_be_trained_from_but_judges(
    sampler: EndpointSampler, fake: Fake, tiny: str
) -> None:
    fake.ids = fake.vllm = False
    with pytest.raises(PreconditionError, match="returns no token ids, so it cannot be trained from") as raised:
        sampler.load(Policy(tiny, "d"))
    assert "verifier.policy" in raised.value.hint
    sampler.load(Policy(f"{fake.url}#tiny", "judge"))
    chat = SampleRequest("k", "p", (Message("user", "2+2="),), (0,), (7,))
    (said,) = drawn(sampler, chat, max_tokens=5)
    assert (said.completion, said.token_ids, said.prompt_ids, said.policy) == ("4", (), (), "judge")
    (body,) = fake.bodies("/v1/chat/completions")
    assert body["messages"] == [{"role": "user", "content": "2+2="}] and body["seed"] == 7
    assert not {"top_k", "repetition_penalty"} & set(body), "OpenAI's server refuses what only vLLM knows"
    (plain,) = drawn(sampler, request(), max_tokens=5)
    assert plain.completion == "4" and fake.bodies("/v1/completions")[-1]["prompt"] == "2+2="
    with pytest.raises(ConfigError, match="cannot weigh a text: only vLLM's server can"):
        drawn(sampler, request(prefix="yes"), score=True)


def test_an_adapter_is_loaded_under_its_own_name_and_the_one_before_is_let_go(
    sampler: EndpointSampler, fake: Fake, tiny: str
) -> None:
    sampler.load(Policy(tiny, "d"))
    canary = {"ids": [1, 5, 6, 7], "prompt_len": 2, "logprobs": [-1.0, -1.05]}
    for digest in ("a" * 32, "b" * 32):
        sampler.load(Policy(tiny, digest, "d", f"/adapters/{digest[0]}"), canary=canary)
        drawn(sampler, request())
        assert fake.bodies("/v1/completions")[-1]["model"] == f"selfimprove-{digest[:16]}"
    loaded = [(body["lora_name"], body["lora_path"]) for body in fake.bodies("/v1/load_lora_adapter")]
    assert loaded == [(f"selfimprove-{'a' * 16}", "/adapters/a"), (f"selfimprove-{'b' * 16}", "/adapters/b")]
    assert [body["lora_name"] for body in fake.bodies("/v1/unload_lora_adapter")] == [loaded[0][0]]
    sampler.load(Policy(tiny, "d"))
    drawn(sampler, request())
    assert fake.bodies("/v1/completions")[-1]["model"] == "tiny"


def test_back_to_an_adapter_that_is_still_there(fake: Fake, tiny: str) -> None:
    """The base between two uses of an adapter, a second sampler, and one that begins after a kill."""
    canary = {"ids": [1, 5, 6, 7], "prompt_len": 2, "logprobs": [-1.0, -1.0]}
    best = Policy(tiny, "b" * 32, "d", "/adapters/b")
    for _ in range(2):
        sampler = EndpointSampler({"endpoint": {"url": fake.url}}, {})
        for policy in (best, Policy(tiny, "d"), best):
            sampler.load(policy, canary=None if policy.adapter is None else canary)
        drawn(sampler, request())
        assert fake.bodies("/v1/completions")[-1]["model"] == f"selfimprove-{'b' * 16}"
    assert fake.adapters == [f"selfimprove-{'b' * 16}"]
    fake.adapters.clear()  # the server was started again
    sampler.load(Policy(tiny, "c" * 32, "d", "/adapters/c"), canary=canary)
    sampler.close()
    assert fake.adapters == []


def test_weights_that_went_with_their_server_are_given_again(fake: Fake, tiny: str) -> None:
    sampler = EndpointSampler({"endpoint": {"url": fake.url}}, {})
    canary = {"ids": [1, 5, 6, 7], "prompt_len": 2, "logprobs": [-1.0, -1.0]}
    sampler.load(Policy(tiny, "b" * 32, "d", "/adapters/b"), canary=canary)
    fake.fails = [404]
    with pytest.raises(EngineDead, match="has lost the adapter"):
        drawn(sampler, request())
    fake.stop_now()
    with pytest.raises(EngineDead, match="is gone, and the weights it was given"):
        drawn(sampler, request())


def test_another_model_is_not_what_it_serves(fake: Fake, tiny: str, tmp_path: Path) -> None:
    """It would answer for any model; so `eval OTHER` and a judge's directory are refused."""
    other = str(tmp_path / "other")
    shutil.copytree(tiny, other)
    sampler = EndpointSampler({"endpoint": {"url": fake.url}}, {"source": tiny})
    with pytest.raises(ConfigError, match=r"not .*/other"):
        sampler.load(Policy(other, "o"))
    sampler.load(Policy(tiny, "d"))
    built = EndpointSampler({"endpoint": {"url": fake.url}}, {})
    built.load(Policy(tiny, "d"))
    with pytest.raises(ConfigError, match=r"not .*/other"):
        built.load(Policy(other, "o"))


def test_what_it_serves_is_checked(sampler: EndpointSampler, fake: Fake, tiny: str, tmp_path: Path) -> None:
    fake.logprob = -2.0
    with pytest.raises(CanaryError, match=r"differ from the trained weights' by 1\.000 nats"):
        sampler.load(Policy(tiny, "a", "d", "/adapter"), canary={"ids": [1, 5, 6], "prompt_len": 2, "logprobs": [-1.0]})
    with pytest.raises(ConfigError, match="cannot be given whole weights"):
        sampler.load(Policy(tiny, "b", "d"))
    sampler.load(Policy(tiny, "d"))
    another = str(tmp_path / "another")
    shutil.copytree(tiny, another)
    with pytest.raises(ConfigError, match=r"the adapter belongs to .*/another, and the server has"):
        sampler.load(Policy(another, "c", "d", "/adapter"), canary=None)


def test_a_command_swaps_the_weights(fake: Fake, tiny: str, tmp_path: Path) -> None:
    script = tmp_path / "swap.py"
    told = tmp_path / "told"
    script.write_text(f"import shutil, sys\nshutil.copy(sys.argv[1], {str(told)!r})\nprint('other')\n")
    swap = [sys.executable, str(script)]
    sampler = EndpointSampler({"endpoint": {"url": fake.url, "swap_command": swap}}, {})
    sampler.load(Policy(tiny, "a", "d"), canary={"ids": [1, 5, 6], "prompt_len": 2, "logprobs": [-1.0]})
    drawn(sampler, request())
    assert fake.bodies("/v1/completions")[-1]["model"] == "other"
    assert json.loads(told.read_text()) == {"source": tiny, "adapter": None, "digest": "a", "url": fake.url}
    broken = EndpointSampler({"endpoint": {"url": fake.url, "swap_command": [sys.executable, "-c", "1/0"]}}, {})
    with pytest.raises(PreconditionError, match=r"swap_command ended with exit code 1: .*ZeroDivisionError"):
        broken.load(Policy(tiny, "a", "d"))


def test_a_prompt_that_does_not_fit_aborts_alone(sampler: EndpointSampler, fake: Fake, tiny: str) -> None:
    sampler.load(Policy(tiny, "d"))
    (long,) = drawn(sampler, request("1" * 60))
    assert (long.finish, long.token_ids) == ("abort", ())
    (weighed,) = drawn(sampler, request("1" * 60, prefix="2"), score=True)
    assert (weighed.finish, weighed.logprob) == ("abort", None)
    sampler.load(Policy(f"{fake.url}#tiny", "judge"))
    assert drawn(sampler, request("1" * 60))[0].finish == "abort"
    sampler.load(Policy(tiny, "d"))
    assert drawn(sampler, request())[0].finish == "stop"


def test_a_busy_server_is_asked_again(
    sampler: EndpointSampler, fake: Fake, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler.load(Policy(tiny, "d"))
    fake.fails = [503, 429]
    assert drawn(sampler, request())[0].completion == "4"
    fake.fails = [400]
    with pytest.raises(ConfigError, match=r"refuses the request \(400\): not now"):
        drawn(sampler, request())
    monkeypatch.setattr(sampler._server, "patience", 0.1)
    fake.fails = [500] * 9
    with pytest.raises(EngineDead, match=r"stopped answering \(status 500: not now\)"):
        drawn(sampler, request())


def test_who_is_there(fake: Fake, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PreconditionError, match="does not answer"):
        servers.Server("http://127.0.0.1:9/v1", None).meet()
    with pytest.raises(PreconditionError, match="serves no 'huge'; it serves tiny"):
        servers.Server(fake.url, "huge").meet()
    fake.models = ["a", "b"]
    with pytest.raises(PreconditionError, match="serves a, b"):
        servers.Server(fake.url, None).meet()
    fake.key = "secret"
    with pytest.raises(PreconditionError, match="refuses the key") as raised:
        servers.Server(fake.url, "a", "MY_KEY").meet()
    assert raised.value.hint == "set MY_KEY"
    monkeypatch.setenv("MY_KEY", "secret")
    servers.Server(fake.url, "a", "MY_KEY").meet()


def test_parameters_of_the_sampler_itself_are_refused(sampler: EndpointSampler, tiny: str) -> None:
    sampler.load(Policy(tiny, "d"))
    with pytest.raises(ConfigError, match=r"sampling\.params\.n: set by the sampler itself"):
        drawn(sampler, request(), extra={"n": 4})


def test_abort_forgets_what_was_asked(sampler: EndpointSampler, tiny: str) -> None:
    sampler.load(Policy(tiny, "d"))
    sampler.pump([request(count=2)], SamplingParams())
    sampler.abort()
    assert sampler.pump([], SamplingParams()) == ([], 0)
    sampler.close()
