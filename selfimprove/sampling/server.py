"""An OpenAI-compatible server: its few calls that sampling needs, and what their failures mean.

Contract: a refusal says what to change (the key, the model's name, the parameter); a server that does not answer is
asked again for `PATIENCE_S`, then it is dead. Which calls a server knows is asked once: vLLM's own are used where it is
vLLM.

See it work: ``pytest tests/sampling/test_endpoint.py``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from selfimprove.errors import ConfigError, EngineDead, PreconditionError

PATIENCE_S = 120.0
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)


class Server:
    """The server at ``url`` (with its ``/v1``). ``model`` is the name it serves; None = the only one it lists.

    ``patience``: seconds for which it is asked again; 0 once it serves weights that a restart would lose.
    """

    def __init__(
        self, url: str, model: str | None, key_env: str = "OPENAI_API_KEY", timeout_s: float = 600.0, parallel: int = 64
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        key = os.environ.get(key_env, "")
        limits = httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel)
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {key}"} if key else {}, timeout=timeout_s, limits=limits
        )
        self._key_env, self._wanted, self.patience = key_env, model, PATIENCE_S
        self.model = ""
        self.is_vllm = False

    def meet(self) -> None:
        """Find out what is served. PreconditionError if nothing answers, or not the wanted model."""
        entries = self._get("/models").get("data", [])
        listed = [str(entry["id"]) for entry in entries if not entry.get("parent")]  # adapters have one
        if self._wanted is None and len(listed) != 1:
            raise PreconditionError(f"{self.url} serves {', '.join(listed) or 'no model'}", hint="name one of them")
        if self._wanted is not None and listed and self._wanted not in listed:
            raise PreconditionError(f"{self.url} serves no {self._wanted!r}; it serves {', '.join(listed)}")
        self.model = self._wanted or listed[0]
        parts = urlsplit(self.url)
        self._root = f"{parts.scheme}://{parts.netloc}"
        try:
            self.is_vllm = self._client.get(f"{self._root}/version").status_code == 200
        except self._unreachable():
            self.is_vllm = False

    def _get(self, path: str) -> dict[str, Any]:
        import httpx

        try:
            answer = self._client.get(self.url + path, timeout=30.0)
        except httpx.HTTPError as error:
            raise PreconditionError(
                f"{self.url} does not answer ({type(error).__name__})", hint="start the server, or mend the address"
            ) from error
        self._refuse(answer)
        return dict(answer.json())

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one call. ConfigError for what the server refuses, EngineDead once it is gone for good."""
        until, pause = time.monotonic() + self.patience, 0.25
        place = self.url + path if not path.startswith("//") else self._root + path[1:]
        while True:
            try:
                answer = self._client.post(place, json=dict(body))
            except self._unreachable() as error:
                said = f"{type(error).__name__}: {error}"
                if not self.patience:
                    raise EngineDead(f"{self.url} is gone, and the weights it was given with it ({said})") from error
            else:
                if answer.status_code not in BUSY:
                    self._refuse(answer)
                    return _json(answer)
                said = f"status {answer.status_code}: {_message(answer)}"
            if self.patience and time.monotonic() + pause > until:
                raise EngineDead(f"{self.url} stopped answering ({said})")
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def _unreachable(self) -> type[Exception]:
        import httpx

        return httpx.TransportError

    def _refuse(self, answer: Any) -> None:
        code = answer.status_code
        if code in (401, 403):
            raise PreconditionError(f"{self.url} refuses the key ({code})", hint=f"set {self._key_env}")
        if code == 404:
            raise PreconditionError(f"{answer.request.url}: there is no such call or model ({_message(answer)})")
        if code >= 400:
            raise ConfigError(f"{self.url} refuses the request ({code}): {_message(answer)}")

    def load_adapter(self, name: str, path: str) -> None:
        """Serve the adapter in the directory ``path`` (seen by the server) as ``name``, beside the base."""
        try:
            self.post("/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except ConfigError as error:
            if "already" not in str(error):  # its name carries its digest: what is there is what is meant
                raise
        except PreconditionError as error:
            raise PreconditionError(
                f"{self.url} cannot take adapters: {error}",
                hint="start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or give a swap_command",
            ) from error

    def unload_adapter(self, name: str) -> None:
        """Take an adapter away, if it is still there."""
        with contextlib.suppress(PreconditionError, ConfigError, EngineDead):
            self.post("/unload_lora_adapter", {"lora_name": name})

    def tokenize(self, body: Mapping[str, Any]) -> list[int]:
        """vLLM's own tokens of a text or of messages."""
        return list(self.post("//tokenize", {"model": self.model, **body})["tokens"])

    def close(self) -> None:
        self._client.close()


def _json(answer: Any) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}  # an adapter is acknowledged by a sentence
    return dict(found) if isinstance(found, dict) else {}


def _message(answer: Any) -> str:
    try:
        said = answer.json()
    except ValueError:
        return str(answer.text)[:300]
    error = said.get("error", said) if isinstance(said, dict) else said
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
