"""metrics/judges/remote: the real clients against local servers that play the documented replies."""

import base64
import codecs
import gzip
import io
import json
import logging
import math
import re
import socket
import subprocess
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from dataclasses import replace
from email.utils import formatdate

import numpy as np
import pytest
from campaign import some
from PIL import Image
from servers import ROGUES, SAYS, Reply, Rogue, Server, says, silent, whole

from interp.errors import InterpError, InterpWarning
from interp.metrics.judges import base
from interp.metrics.judges.base import LETTERS, Judge, rotated
from interp.metrics.judges.remote import client
from interp.metrics.judges.remote.gemini import GeminiJudge
from interp.metrics.judges.remote.openai import OpenAiJudge
from interp.metrics.judges.remote.sender import Answer, Busy, Clock, Sender
from interp.metrics.judges.remote.settings import address
from interp.metrics.judges.remote.words import Secret, repeatable
from interp.types import UNRECOGNISABLE

LABELS = ("France", "Japan", "Korea", "Poland", UNRECOGNISABLE)
KEY = "sk-test-5f2c9b71aa04"
ITEMS = ["ant-1", "bee-2", "cat-3", "dog-4", "eel-5", "fox-6"]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.at = 0.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.at += seconds

    def clock(self, jitter=0.0, wall=0.0):
        return Clock(lambda: self.at, self.sleep, lambda: wall + self.at, lambda: jitter)


class OpenAi:
    path = "/v1/chat/completions"

    @staticmethod
    def judge(server, **settings):
        return OpenAiJudge(LABELS, "some-vlm", f"{server.url}/v1", **settings)

    @staticmethod
    def says(text, finish="stop", **message):
        return Reply({"choices": [{"message": {"content": text, **message}, "finish_reason": finish}]})

    @staticmethod
    def error(status, message="no", headers=None, code=None):
        return Reply({"error": {"message": message, "type": "x", "code": code}}, status, headers or {})

    @staticmethod
    def question(request):
        return request.body["messages"][0]["content"][1]["text"]

    @staticmethod
    def image(request):
        head, data = request.body["messages"][0]["content"][0]["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        return base64.b64decode(data)


class Gemini:
    path = "/v1beta/models/some-vlm:generateContent"

    @staticmethod
    def judge(server, **settings):
        return GeminiJudge(LABELS, "some-vlm", server.url, **settings)

    @staticmethod
    def says(text, finish="STOP"):
        content = {"parts": [{"text": text}], "role": "model"}
        return Reply({"candidates": [{"content": content, "finishReason": finish}], "modelVersion": "some-vlm"})

    @staticmethod
    def error(status, message="no", headers=None, **entry):
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", **entry}]
        error = {"code": status, "message": message, "status": "X", "details": details}
        return Reply({"error": error}, status, headers or {})

    @staticmethod
    def question(request):
        return request.body["contents"][0]["parts"][1]["text"]

    @staticmethod
    def image(request):
        data = request.body["contents"][0]["parts"][0]["inlineData"]
        assert data["mimeType"] == "image/png"
        return base64.b64decode(data["data"])


@pytest.fixture(params=[OpenAi, Gemini])
def system(request):
    return request.param


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def pictures(n, side=5):
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (side, side + 2, 3), np.uint8) for _ in range(n)]
    for number, picture in enumerate(shown):
        picture[0, 0] = number
    return shown


def options(system, request):
    """Letter → label, as a request asks them."""
    return dict(re.findall(r"^([A-Z])\. (.+)$", system.question(request), re.MULTILINE))


def letter_of(system, label):
    """A reply that names a label by whatever letter it stands at."""

    def reply(request):
        return system.says(next(k for k, v in options(system, request).items() if v == label))

    return reply


def patient(time=None, **settings):
    return Sender(**{"a_minute": 6e6, "threads": 1, "clock": (time or Time()).clock(), **settings})


def ask(system, *script, n=1, **settings):
    """(verdicts, judge, server) of a judge that asks about a few pictures."""
    with Server(*script) as server:
        judge = system.judge(server, **{"sender": patient(), **settings})
        return judge(pictures(n), ITEMS[:n]), judge, server


# What is asked


def test_the_answer_of_every_picture_is_mapped_back_from_its_own_order(system):
    with Server(letter_of(system, "Korea")) as server:
        judge = system.judge(server, sender=patient(threads=4))
        assert isinstance(judge, Judge)
        assert judge(pictures(6), ITEMS).culture == ("Korea",) * 6
    asked = {tuple(options(system, r).values()) for r in server.requests}
    assert asked == {rotated(LABELS, item) for item in ITEMS}
    assert len(asked) > 1
    assert {tuple(options(system, r)) for r in server.requests} == {tuple(LETTERS[:5])}
    assert judge.unscored == Counter()


def test_answers_keep_the_order_of_the_pictures_whatever_comes_back_first(system):
    labels = [LABELS[i % 5] for i in range(6)]

    def reply(request):
        number = np.asarray(Image.open(io.BytesIO(system.image(request))))[0, 0, 0]
        answer = letter_of(system, labels[number])(request)
        return Reply(answer.body, late=0.03 * (6 - float(number)))

    with Server(reply) as server:
        assert system.judge(server, sender=patient(threads=6))(pictures(6), ITEMS).culture == tuple(labels)


def test_the_picture_arrives_as_it_was(system):
    _, _, server = ask(system, system.says("A"), n=3)
    for request, picture in zip(server.requests, pictures(3), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(system.image(request)))), picture)
        assert request.path == system.path


def test_openai_is_asked_at_temperature_0():
    _, _, server = ask(OpenAi, OpenAi.says("A"))
    body = {k: v for k, v in server.requests[0].body.items() if k != "messages"}
    assert body == {"model": "some-vlm", "temperature": 0, "max_tokens": 8}
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    _, _, server = ask(OpenAi, OpenAi.says("A"), logprobs=5, limit_name="max_completion_tokens")
    body = {k: v for k, v in server.requests[0].body.items() if k not in ("messages", "model")}
    assert body == {"temperature": 0, "max_completion_tokens": 8, "logprobs": True, "top_logprobs": 5}


def test_gemini_is_bound_to_the_letters_and_does_not_think(monkeypatch):
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v9")
    _, _, server = ask(Gemini, Gemini.says("A"))
    config = server.requests[0].body["generationConfig"]
    schema = config.pop("responseSchema")
    assert (schema["type"], schema["enum"]) == ("STRING", list("ABCDE"))
    thinking = config.pop("thinkingConfig")
    assert list(thinking.values()) == [0]
    assert config == {"temperature": 0, "seed": 0, "responseMimeType": "text/x.enum"}
    assert server.requests[0].path == Gemini.path
    assert server.requests[0].headers["x-goog-api-key"] == KEY


def test_a_server_that_refuses_the_enumeration_is_asked_for_json_aloud():
    refused = Gemini.error(400, "* GenerateContentRequest.generation_config.response_mime_type: text/x.enum unknown")
    said = Gemini.says('"B"')
    with Server(refused, said) as server:
        judge = Gemini.judge(server, sender=patient())
        with pytest.warns(InterpWarning, match=r"refuses text/x\.enum; asked for application/json"):
            found = judge(pictures(2), ITEMS[:2])
    assert found.culture == tuple(rotated(LABELS, i)[1] for i in ITEMS[:2])
    forms = [r.body["generationConfig"]["responseMimeType"] for r in server.requests]
    assert forms == ["text/x.enum", "application/json", "application/json"]
    assert judge.digest != Gemini.judge(server, form="application/json").digest


def test_another_error_400_is_no_reason_for_json():
    with pytest.raises(InterpError, match="refused the question with HTTP 400: API key not valid"):
        ask(Gemini, Gemini.error(400, "API key not valid"), Gemini.says('"B"'))


# How answers are read


@pytest.mark.parametrize("text", ["C", " C\n", "C.", "C)", "(C)", "(C)."])
def test_one_letter_is_an_answer(system, text):
    found, judge, _ = ask(system, system.says(text))
    assert found.culture == (rotated(LABELS, ITEMS[0])[2],)
    assert judge.unscored == Counter()


def test_small_letters_are_options_of_their_own_where_there_are_more_than_26(system):
    labels = (*map(str, range(29)), UNRECOGNISABLE)
    with Server(system.says("c"), system.says("C"), system.says("e")) as server:
        judge = replace(system.judge(server, sender=patient()), labels=labels)
        found = judge(pictures(3), ITEMS[:3])
    asked = [dict(re.findall(r"^([A-Za-z])\. (.+)$", system.question(r), re.MULTILINE)) for r in server.requests]
    assert found.culture == (asked[0]["c"], asked[1]["C"], "")
    assert {"c", "C", "d"} < asked[0].keys() and "e" not in asked[0]


@pytest.mark.parametrize(
    "text", ["", "c", "F", "A B", "A.B", "AB", "France", "C. Korea", "The answer is C", "(C", "Ｃ"]
)
def test_anything_else_is_unscored(system, text):
    found, judge, server = ask(system, system.says(text))
    assert found.culture == ("",)
    assert judge.unscored == {"no letter": 1}
    assert len(server.requests) == 1


REFUSALS = [
    (OpenAi, OpenAi.says(None, refusal="I cannot help with that."), "refused"),
    (OpenAi, OpenAi.says("A", "content_filter"), "finish_reason content_filter"),
    (OpenAi, OpenAi.says("A", "length"), "finish_reason length"),
    (OpenAi, OpenAi.error(400, "filtered", code="content_filter"), "refused (content_filter)"),
    (Gemini, Reply({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}), "blocked (PROHIBITED_CONTENT)"),
    (Gemini, Gemini.says("A", "SAFETY"), "finish reason SAFETY"),
    (Gemini, Reply({"candidates": [{"finishReason": "RECITATION"}]}), "finish reason RECITATION"),
    (Gemini, Gemini.says("A", "MAX_TOKENS"), "finish reason MAX_TOKENS"),
]


@pytest.mark.parametrize(("system", "reply", "reason"), REFUSALS)
def test_a_refusal_is_unscored_by_its_reason_and_not_asked_again(system, reply, reason):
    found, judge, server = ask(system, reply, letter_of(system, "Japan"), n=2)
    assert found.culture == ("", "Japan")
    assert judge.unscored == {reason: 1}
    assert len(server.requests) == 2


def likely(*tokens, at="C"):
    top = [{"token": t, "logprob": math.log(p)} for t, p in tokens]
    content = [{"token": "(", "top_logprobs": []}, {"token": at, "top_logprobs": top}]
    return {"logprobs": {"content": content}}


def test_probabilities_are_those_of_the_letters():
    reply = OpenAi.says("C")
    reply.body["choices"][0] |= likely(("C", 0.4), (" C", 0.1), ("A", 0.2), ("The", 0.2), ("Z", 0.05), ("c", 0.05))
    found, _, _ = ask(OpenAi, reply, OpenAi.says("D"), n=2, logprobs=6)
    by_label = dict(zip(LABELS, found.culture_probability[0], strict=True))
    order = rotated(LABELS, ITEMS[0])
    expected = {order[2]: 0.5 / 0.7, order[0]: 0.2 / 0.7, **dict.fromkeys((order[1], order[3], order[4]), 0.0)}
    assert by_label == pytest.approx(expected)
    assert np.isnan(found.culture_probability[1]).all()
    assert found.culture == (order[2], rotated(LABELS, ITEMS[1])[3])


def test_no_probabilities_where_the_server_gives_none():
    assert ask(OpenAi, OpenAi.says("A"), logprobs=5)[0].culture_probability is None
    assert ask(Gemini, Gemini.says("A"))[0].culture_probability is None


# Errors of the server


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_server_is_asked_again(system, status):
    time = Time()
    found, judge, server = ask(
        system, system.error(status), system.error(status), system.says("A"), sender=patient(time)
    )
    assert found.culture == (rotated(LABELS, ITEMS[0])[0],)
    assert len(server.requests) == 3
    assert [s for s in time.slept if s >= 0.5] == [1.0, 2.0]
    assert judge.unscored == Counter()


def test_waits_grow_up_to_a_limit_and_are_spread_by_chance():
    time = Time()
    sender = Sender(a_minute=6e9, attempts=6, longest_wait=20, clock=time.clock(jitter=0.5))

    def busy():
        raise Busy("HTTP 503")

    assert sender.ask(busy) == Answer(unanswered="HTTP 503")
    assert [s for s in time.slept if s > 0.01] == [1.5, 3.0, 6.0, 12.0, 20.0]


@pytest.mark.parametrize("header", ["7", formatdate(1_000_007, usegmt=True)])
def test_retry_after_is_honoured_as_a_number_and_as_a_date(system, header):
    time = Time()
    sender = patient(clock=time.clock(wall=1_000_000))
    refused = system.error(429, headers={"Retry-After": header})
    found, _, server = ask(system, refused, system.says("B"), sender=sender)
    assert found.culture != ("",)
    assert len(server.requests) == 2
    assert time.at == pytest.approx(7, abs=0.01)


@pytest.mark.parametrize("header", ["soon", "", "-3"])
def test_a_retry_after_that_says_nothing_is_none(header):
    assert client.retry_after(header, Clock()) in (None, 0.0)


def test_google_names_the_wait_in_the_body():
    time = Time()
    _, _, server = ask(Gemini, Gemini.error(429, retryDelay="34.5s"), Gemini.says("B"), sender=patient(time))
    assert len(server.requests) == 2
    assert time.at == pytest.approx(34.5, abs=0.01)


def test_a_server_that_asks_for_an_hour_is_not_asked_again(system):
    refused = system.error(429, headers={"Retry-After": "3600"})
    found, judge, server = ask(system, refused)
    assert found.culture == ("",)
    assert judge.unscored == {"HTTP 429": 1}
    assert len(server.requests) == 1


def test_a_server_that_stays_broken_leaves_the_picture_unscored(system):
    found, judge, server = ask(system, system.error(500), sender=patient(attempts=3))
    assert found.culture == ("",)
    assert judge.unscored == {"HTTP 500": 1}
    assert len(server.requests) == 3


def test_a_server_that_answers_nothing_stops_the_run(system):
    with Server(system.error(503)) as server:
        judge = system.judge(server, sender=patient(attempts=2, lost_in_a_row=3))
        with pytest.raises(InterpError, match=r"none of 3 questions in a row, the last after 2 attempts \(HTTP 503\)"):
            judge(pictures(6), ITEMS)
    assert len(server.requests) == 6


def test_one_answer_between_them_lets_the_run_go_on(system):
    error = system.error(503)
    script = (error, error, system.says("A"), error, error, system.says("A"))
    found, judge, _ = ask(system, *script, n=6, sender=patient(attempts=1, lost_in_a_row=3))
    assert [bool(c) for c in found.culture] == [False, False, True, False, False, True]
    assert judge.unscored == {"HTTP 503": 4}


@pytest.mark.parametrize("body", [b"", b'{"cho', b"<html>", b"[]", b"{}", b'{"choices": [], "candidates": []}'])
def test_a_malformed_reply_is_asked_for_again_and_then_unscored(system, body):
    found, judge, server = ask(system, Reply(body), sender=patient(attempts=2))
    assert found.culture == ("",)
    assert set(judge.unscored) <= {"malformed reply", "empty reply"}
    assert sum(judge.unscored.values()) == 1
    assert len(server.requests) == 2


def test_a_late_answer_is_a_timeout(system):
    sender = patient(attempts=2, timeout=0.3)
    found, judge, _ = ask(system, Reply(late=5.0), sender=sender)
    assert found.culture == ("",)
    assert judge.unscored == {"timeout": 1}
    found, _, _ = ask(system, Reply(late=5.0), system.says("A"), sender=sender)
    assert found.culture != ("",)


def test_a_broken_line_is_tried_again(system):
    found, _, server = ask(system, Reply(cut=True), system.says("A"))
    assert found.culture != ("",)
    assert len(server.requests) == 2


def test_nobody_there_is_unscored(system):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(Reply())
    server._http.server_close()
    server.url = f"http://127.0.0.1:{port}"
    judge = system.judge(server, sender=patient(attempts=2))
    assert judge(pictures(1), ITEMS[:1]).culture == ("",)
    assert judge.unscored == {"connection (ConnectError)": 1}


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "settings"), (401, "check the key"), (403, "key"), (404, "address")]
)
def test_a_final_refusal_stops_at_once_in_one_line(system, status, hint):
    with Server(system.error(status, "first line\nsecond line " + 999 * "x")) as server:
        judge = system.judge(server, sender=patient(threads=2))
        with pytest.raises(InterpError) as caught:
            judge(pictures(6), ITEMS)
    text = str(caught.value)
    assert f"HTTP {status}: first line second line" in text
    assert text.startswith("some-vlm at http://127.0.0.1")
    assert hint in text
    assert "\n" not in text and len(text) < 500
    assert len(server.requests) <= 2


def test_a_used_up_quota_is_final():
    with pytest.raises(InterpError, match="quota is used up"):
        ask(OpenAi, OpenAi.error(429, "You exceeded your current quota", code="insufficient_quota"))


# The key


def everything(error):
    """The text of an error as a traceback shows it."""
    import traceback

    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_key_is_in_no_error_log_repr_or_digest(system, status, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    with Server(system.error(status, f"wrong key {KEY}, not {KEY}")) as server:
        judge = system.judge(server, sender=patient())
        with pytest.raises(InterpError, match=f"HTTP {status}: no message that can be repeated; ") as caught:
            judge(pictures(1), ITEMS[:1])
        before = judge.digest
        monkeypatch.setenv("OPENAI_API_KEY", "another")
        monkeypatch.setenv("GEMINI_API_KEY", "another")
        assert judge.digest == before
    assert KEY in str(server.requests[0].headers)
    assert KEY not in everything(caught.value)
    assert KEY not in repr(judge) + str(vars(judge)) + str(vars(judge.sender)) + judge.digest + caplog.text


def test_without_a_key_nothing_is_sent(system, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("GEMINI_API_KEY")
    with Server(system.says("A")) as server:
        judge = system.judge(server, sender=patient())
        if system is OpenAi:  # a server of one's own may need none
            assert judge(pictures(1), ITEMS[:1]).culture != ("",)
            assert "authorization" not in server.requests[0].headers
            judge = OpenAiJudge(LABELS, "gpt")
        with pytest.raises(InterpError, match=r"no key: none of .*_API_KEY.* is set; export"):
            judge(pictures(1), ITEMS[:1])
        assert len(server.requests) == (system is OpenAi)


def test_google_s_other_variable_holds_the_key_too(monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GOOGLE_API_KEY", "other")
    assert ask(Gemini, Gemini.says("A"))[2].requests[0].headers["x-goog-api-key"] == "other"


def test_a_key_in_the_address_is_refused():
    for url in (f"https://me:{KEY}@host/v1", f"https://host/v1?key={KEY}", "host/v1", "ftp://host"):
        with pytest.raises(InterpError, match="base_url") as caught:
            OpenAiJudge(LABELS, "m", url)
        assert KEY not in str(caught.value)


# Servers that hold, fill or lead elsewhere


def rogue_judge(system, server, seconds=1.0, **settings):
    """A judge of a rogue; with a wait of 0 between attempts, so that the time is the attempts' own."""
    return system.judge(server, sender=Sender(a_minute=6e6, threads=1, timeout=seconds, first_wait=0, **settings))


@pytest.mark.parametrize("kind", some([*ROGUES], 16))
def test_a_rogue_costs_one_picture_and_bounded_time(system, kind):
    """Unscored by its reason, without a traceback or a warning, in no more time than the attempt has."""
    play, reason = ROGUES[kind]
    with Rogue(play()) as server:
        judge = rogue_judge(system, server, attempts=1)
        started = time.monotonic()
        found = judge(pictures(1), ITEMS[:1])
        took = time.monotonic() - started
    assert found.culture == ("",)
    assert sum(judge.unscored.values()) == 1 and set(judge.unscored) <= set(reason.split(" or "))
    assert took < 4, "an attempt has a second"
    assert len(server.requests) == 1


def test_a_reply_that_is_too_long_is_not_paid_for_again(system):
    with Rogue(ROGUES["never ends the body"][0]()) as server:
        judge = rogue_judge(system, server, attempts=5)
        judge(pictures(1), ITEMS[:1])
    assert judge.unscored == {"reply too long": 1}
    assert len(server.requests) == 1


def test_a_bomb_takes_no_memory(system):
    for kind in ("gzip bomb", "deflate bomb", "sends 50 MB"):
        with Rogue(ROGUES[kind][0]()) as server:
            judge = rogue_judge(system, server, attempts=1)
            judge(pictures(1), ITEMS[:1])
            tracemalloc.start()
            judge(pictures(1), ITEMS[:1])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 16e6, f"{kind}: {peak / 1e6:.0f} MB"


def test_one_gzip_is_read_although_none_was_asked_for(system):
    with Rogue(says(whole(gzip.compress(SAYS), Content_Encoding="gzip"))) as server:
        assert rogue_judge(system, server)(pictures(1), ITEMS[:1]).culture != ("",)
    assert b"accept-encoding: identity" in server.requests[0].lower()


def test_a_server_that_does_not_read_is_left(system):
    """A picture larger than what the sockets hold, to a server that takes a little now and then."""

    def sip(line, ending):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not ending.wait(0.2):
            line.recv(4096)

    with Rogue(sip, read=False) as server:
        judge = rogue_judge(system, server, attempts=1)
        started = time.monotonic()
        judge(pictures(1, 1500), ITEMS[:1])
        assert time.monotonic() - started < 20, "to write the picture takes a second or two, to hand it over minutes"
    assert judge.unscored == {"timeout": 1}


@pytest.mark.parametrize("play", [silent, says(b"HTTP/1.1 400 Bad Request\r\n\r\n")])
def test_a_server_that_speaks_no_tls_is_left(system, play):
    with Rogue(play, read=False) as server:
        server.url = server.url.replace("http:", "https:")
        judge = rogue_judge(system, server, attempts=1)
        started = time.monotonic()
        judge(pictures(1), ITEMS[:1])
        assert time.monotonic() - started < 4
    assert set(judge.unscored) <= {"timeout", "connection (ConnectError)"}
    assert sum(judge.unscored.values()) == 1


def test_a_second_reply_is_not_taken_for_the_next_question(system):
    """Two replies on one connection, where a client that keeps it would give the second to the next picture."""
    other = SAYS.replace(b'"A"', b'"B"')
    with Rogue(says(whole(SAYS) + whole(other), b"")) as server:
        found = rogue_judge(system, server)(pictures(3), ITEMS[:3])
    assert found.culture == tuple(rotated(LABELS, i)[0] for i in ITEMS[:3])
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(system, status):
    with Rogue(says(whole(SAYS))) as elsewhere, Server() as server:
        for place in (elsewhere.url, server.url + "/v1", "//127.0.0.1:1/", "file:///etc/passwd"):
            server.script = (Reply(SAYS, status, {"Location": place}),)
            server.requests.clear()
            with pytest.raises(InterpError, match=f"HTTP {status}: .*not followed; give the address that answers$"):
                system.judge(server, sender=patient())(pictures(1), ITEMS[:1])
            assert len(server.requests) == 1
    assert elsewhere.requests == []


@pytest.mark.parametrize("charset", ["zip", "hex", "rot13", "idna", "undefined", "utf-7", "x" * 99])
def test_a_charset_does_not_matter(system, charset):
    headers = {"Content-Type": f"application/json; charset={charset}"}
    found, _, _ = ask(system, Reply(SAYS, headers=headers))
    assert found.culture != ("",)
    with pytest.raises(InterpError, match="HTTP 400: some words here; "):
        ask(system, Reply(b"some words here", 400, headers))


AFTER = ["nan", "inf", "-inf", "1e999", "9" * 9999, "Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 -0000",
         "Thu, 01 Jan 1970 00:00:00 +9999", ",", "٣", "0x10", "1 Jan"]  # fmt: skip


@pytest.mark.parametrize("header", AFTER)
def test_a_retry_after_of_any_kind_ends(header):
    found = client.retry_after(header, Clock())
    assert found is None or found >= 0


@pytest.mark.parametrize("error", [None, "no", [], 5, {"message": 5}, {"message": None, "code": []}, {"details": 5}])
def test_an_error_of_any_form_is_one_line(system, error):
    with pytest.raises(InterpError, match=r"HTTP 400: .*; check the model's name"):
        ask(system, Reply({"error": error}, 400))
    with pytest.raises(InterpError, match="HTTP 404: "):
        ask(system, Reply([error] * 3, 404))


@pytest.mark.parametrize("chance", [1e308, 5.0, float("nan"), -1e308, float("-inf")])
def test_impossible_probabilities_are_none(chance):
    reply = OpenAi.says("C")
    reply.body["choices"][0] |= {
        "logprobs": {"content": [{"token": "C", "top_logprobs": [{"token": "C", "logprob": chance}]}]}
    }
    found, _, _ = ask(OpenAi, reply, logprobs=5)
    assert found.culture == (rotated(LABELS, ITEMS[0])[2],)
    row = found.culture_probability
    assert row is None or np.isnan(row).all() or row.sum() == pytest.approx(1)


def test_the_proxy_of_the_environment_is_used(system, monkeypatch):
    with Server(system.says("A")) as proxy, Server(system.says("A")) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("NO_PROXY")
        for name in ("no_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        judge = system.judge(server, sender=patient())
        assert judge(pictures(1), ITEMS[:1]).culture != ("",)
        assert [r.path for r in proxy.requests] == [server.url + system.path]
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        if system is OpenAi:
            monkeypatch.setenv("http_proxy", "gopher://x")
        with pytest.raises(InterpError, match="NO_PROXY"):
            judge(pictures(1), ITEMS[:1])


# What comes back of the key


ECHOES = {
    "as it is": lambda k: k,
    "in words": lambda k: f"the key '{k}' is wrong",
    "its beginning": lambda k: f"key {k[:9]}*** is wrong",
    "its end": lambda k: f"key ***{k[-7:]} is wrong",
    "in halves": lambda k: f"first {k[:10]} then {k[10:]}",
    "in pieces of 4": lambda k: " and ".join(k[n : n + 4] for n in range(0, len(k), 4)),
    "in pieces of 3": lambda k: " / ".join(k[n : n + 3] for n in range(0, len(k), 3)),
    "in pieces of 2": lambda k: " or ".join(k[n : n + 2] for n in range(0, len(k), 2)),
    "by letters": lambda k: " ".join(k),
    "by letters with dots": lambda k: ".".join(k),
    "by lines": lambda k: "\n".join(k),
    "by invisible signs": lambda k: "\u200b".join(k),
    "by tabs and quotes": lambda k: "'\t'".join(k),
    "percent": lambda k: "".join(f"%{ord(c):02x}" for c in k),
    "percent twice": lambda k: "".join(f"%25{ord(c):02X}" for c in k),
    "HTML": lambda k: "".join(f"&#{ord(c)};" for c in k),
    "HTML in hex": lambda k: "".join(f"&#x{ord(c):x};" for c in k),
    "escapes": lambda k: "".join(f"\\x{ord(c):02x}" for c in k),
    "unicode escapes": lambda k: "".join(f"\\u{ord(c):04x}" for c in k),
    "full width": lambda k: "".join(chr(ord(c) + 0xFEE0) for c in k),
    "base64": lambda k: base64.b64encode(k.encode()).decode(),
    "base64 of the header": lambda k: base64.b64encode(f"Bearer {k}".encode()).decode(),
    "base64 for addresses": lambda k: base64.urlsafe_b64encode(f"x{k}".encode()).decode(),
    "base64 in pieces": lambda k: " ".join(re.findall(".{1,5}", base64.b64encode(k.encode()).decode())),
    "base64 of base64": lambda k: base64.b64encode(base64.b64encode(k.encode())).decode(),
    "base32": lambda k: base64.b32encode(k.encode()).decode(),
    "base85": lambda k: base64.b85encode(k.encode()).decode(),
    "hex": lambda k: k.encode().hex(),
    "codes": lambda k: " ".join(str(ord(c)) for c in k),
    "octal": lambda k: " ".join(f"{ord(c):o}" for c in k),
    "binary": lambda k: " ".join(f"{ord(c):08b}" for c in k),
    "other case": lambda k: k.swapcase(),
    "backwards": lambda k: k[::-1],
    "backwards in pieces": lambda k: " - ".join(re.findall(".{1,3}", k[::-1])),
    "rot13": lambda k: codecs.encode(k, "rot13"),
    "far behind": lambda k: "x " * 140 + k,
}
"""How a server may give the key back."""
KEYS = {
    "mixed": "sk-test-5f2c9b71aa04",
    "letters": "sk-QwErtZuIopAsDfGhJk",
    "small letters": "abcdefghijklmnopqrst",
    "words": "correct-horse-battery-staple",
    "Google's": "AIzaSyD3x4mpl3-K3y_0f7h15T35tXx",
    "digits": "90817263549081726354",
}


def leaks(text, key):
    """The longest piece of a key that is in a text, read by its letters and digits alone, either way, any case.

    Words of English that the message has of its own are taken out first.
    """
    own = (
        "some vlm at http 127 0 0 1 refused the question with no message that can be repeated check key what it may use"
    )
    bare = "".join(w for w in re.findall(r"[a-z0-9]+", text.casefold()) if w not in own.split())
    plain = "".join(re.findall(r"[a-z0-9]", key.casefold()))
    pieces = [form[a:b] for form in (plain, plain[::-1]) for a in range(len(form)) for b in range(a + 1, len(form) + 1)]
    return max((len(p) for p in pieces if p in bare), default=0)


@pytest.mark.parametrize("echo", ECHOES)
def test_no_piece_of_the_key_is_repeated(echo):
    for key in KEYS.values():
        given = ECHOES[echo](key)
        said = repeatable(f"Wrong: {given}. Try another.", Secret(key))
        assert leaks(said, key) < 6
        pieces = set(re.findall(r"[^\s.,:]{3,}", given)) - {*["the", "key", "first", "then", "and", "wrong"]}
        assert sum(len(piece) for piece in pieces if piece in said) < 6, said


def test_what_is_plain_english_is_repeated():
    key = Secret(KEYS["mixed"])
    for said in (
        "API key not valid. Please pass a valid API key.",
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "The model does not exist or you do not have access to it.",
    ):
        assert repeatable(said, key) == said
    assert repeatable("The model `gpt-4o` does not exist", key, {"gpt-4o"}) == "The model `gpt-4o` does not exist"
    assert repeatable("Incorrect API key provided: ab12****zz99. You can find it", key) == (
        "Incorrect API key provided: … You can find it"
    )
    assert repeatable("at most 4096 tokens\x1b[31m", Secret("")) == "at most 4096 …"
    assert len(repeatable("word " * 999, key)) == 300


@pytest.mark.parametrize("place", ["message", "header", "reason", "code", "body", "finish", "cookie"])
@pytest.mark.parametrize("echo", ["as it is", "percent", "base64", "by letters", "backwards", "other case"])
def test_wherever_the_key_comes_back_nothing_shows_it(system, place, echo, caplog, capsys):
    """Not the message, the log at its loudest, a warning, a traceback with every local, or the counts."""
    given = ECHOES[echo](KEY)
    caplog.set_level(1)
    message = given if place == "message" else "no"
    body = json.dumps(
        {"error": {"message": message, "code": given if place == "code" else 7, "status": given}}
    ).encode()
    headers = {"X_Your_Key": given, "Location": given} if place == "header" else {}
    if place == "cookie":
        headers = {"Set_Cookie": f"k={given}"}
    status = f"401 {given}" if place == "reason" else "401 No"
    reply = whole(given.encode() if place == "body" else body, status, **headers)
    if place == "finish":
        one = {"finish_reason": given, "finishReason": given, "message": {"content": "A"}, "content": {"parts": []}}
        said = {"choices": [one], "candidates": [one], "usageMetadata": {"promptTokensDetails": [{"modality": given}]}}
        reply = whole(json.dumps(said).encode())
    with Rogue(says(reply)) as server:
        judge = rogue_judge(system, server)
        error = None
        try:
            judge(pictures(1), ITEMS[:1])
        except InterpError as caught:
            error = caught
    shown = caplog.text + str(judge.unscored) + repr(judge) + "".join(capsys.readouterr())
    if error is not None:
        assert error.__context__ is None and error.__cause__ is None
        lines = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        # of this test's own frame the locals are what it plays
        shown += lines[lines.index("File", lines.index("judge(pictures(1)")) :]
    for secret in {KEY, given}:
        assert secret not in shown
    assert KEY.encode() in server.requests[0]


# What cannot be asked


URLS = [
    "", " ", "/", "host", "host/v1", "https://", "https:///v1", "https:/host/v1", "//host/v1", "ftp://host/v1",
    "file:///etc/passwd", "javascript:alert(1)", "https://ho st/v1", " https://host/v1", "https://host/v1 ",
    "https://host/v 1", "https://host:0/v1", "https://host:65536/v1", "https://host:99999999999999999999/v1",
    "https://host:-1/v1", "https://host:x/v1", "https://host:/v1", "https://host:80:90/v1", "https://h\u00f6st/v1",
    "https://\u0445ost/v1", "https://host/\u00fc", "https://ho\ud800st/v1", "https://host/\udfff", "https://host\n/v1",
    "https://host/v1\r\nX: y", "https://host\t/v1", "https://host\0/v1", "https://[::1/v1", "https://[x]/v1",
    "https://[::ffff:999.1.1.1]/v1", "https://1.2.3.999/v1", "https://1234/v1", "https://-host/v1", "https://a..b/v1",
    "https://.host/v1", f"https://{'a' * 64}/v1", f"https://{'a.' * 200}b/v1", "https://host/" + "a" * 3000,
    "https://host/../../v1", "https://host/v1/..", "https://host\\evil/v1", "https://host/v1\\", "https://host/<v1>",
    "https://ho%73t/v1", "https://host,other/v1", "https://host/v1{x}", "https://ho$t/v1", "http://\u2100.com/v1",
]  # fmt: skip


@pytest.mark.parametrize("kind", [OpenAiJudge, GeminiJudge])
def test_an_address_that_is_none_is_one_line(kind):
    for url in URLS:
        with pytest.raises(InterpError, match=r"^base_url") as caught:
            kind(LABELS, "m", url)
        said = str(caught.value)
        assert said.isascii() and said.isprintable() and len(said) < 300, url


def test_an_address_of_a_server_is_taken():
    for url in (
        "http://127.0.0.1:8000", "https://host", "https://a.b-c.example:443/v1", "http://[::1]:8000/v1",
        "http://localhost/v1/", "https://my_host/openai/deployments/gpt-4o", "https://host./v1",
        "https://xn--hst-sna.example/v1/~x/@y",
    ):  # fmt: skip
        assert address(url) == url.rstrip("/")


def test_credentials_in_an_address_are_shown_nowhere():
    for url in (
        f"https://me:{KEY}@host/v1", f"https://{KEY}@host/v1", f"https://:{KEY}@host/v1", f"me:{KEY}@host/v1",
        f"https:/me:{KEY}@host/v1", f"https://me:{KEY}@/v1", f"https://me:{KEY}@ho st/v1",
        f"https://me:{KEY}@host:99999/v1", f"https://host/v1?key={KEY}", f"https://host/v1#{KEY}",
        f"https://host?{KEY}", f"ftp://me:{KEY}@host", f"//me:{KEY}@host",
        f"https://me:{KEY}@[::1/v1", f"https://me:{KEY}@h\u00f6st/v1", f"https://host@{KEY}:x/v1",
    ):  # fmt: skip
        with pytest.raises(InterpError, match=r"^base_url") as caught:
            OpenAiJudge(LABELS, "m", url)
        lines = traceback.format_exception(caught.value)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None and KEY not in "".join(x for x in lines if x.startswith("interp"))


@pytest.mark.parametrize("kind", [OpenAiJudge, GeminiJudge])
def test_a_price_that_is_none_is_one_line(kind):
    for price in (
        (-1.0, 1.0),
        (1.0, -0.001),
        (math.nan, 1.0),
        (1.0, math.nan),
        (math.inf, 0.0),
        (0.0, -math.inf),
        (1e300, 1.0),
    ):
        with pytest.raises(InterpError, match=r"^price=[^\n]*: give a number from 0 to 1e\+06$"):
            kind(LABELS, "m", price=price)
    assert kind(LABELS, "m", price=(0.0, 2.5)).price == (0.0, 2.5)


def test_other_settings_that_cannot_be_sent_are_one_line():
    for number in (-1, 10**9):
        with pytest.raises(InterpError, match=r"^logprobs="):
            OpenAiJudge(LABELS, "m", logprobs=number)
    for number in (-2, 10**30):
        with pytest.raises(InterpError, match=r"^thinking="):
            GeminiJudge(LABELS, thinking=number)
    for model in ("", " ", "a\nb", "a\x1b[31m", "a\ud800", "m" * 201):
        for kind in (OpenAiJudge, GeminiJudge):
            with pytest.raises(InterpError, match=r"^model '[^\n]*: give 1 to 200 characters"):
                kind(LABELS, model)
    for model in ("../../x", "a/../b", "a?key=1", "a b", "a#b", "a%2e", "modèle", ":x", "/x"):
        with pytest.raises(InterpError, match=r"^model '[^\n]*becomes part of an address"):
            GeminiJudge(LABELS, model)
    for label in ("", "a\nB. France", "\ud800", "x" * 201):
        with pytest.raises(InterpError, match=r"^label '[^\n]*: give 1 to 200 characters"):
            OpenAiJudge((label, *LABELS), "m")


@pytest.mark.parametrize(
    "given", ["sk-\u00e9t\u00e9-123456", "sk-12\n3456", "sk 123456", "sk-\udc80123456", "sk-12\x7f3456"]
)
def test_a_key_that_no_header_takes_is_one_line(system, given, monkeypatch):
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, given)
    with Server(system.says("A")) as server:
        with pytest.raises(InterpError, match=r"^the key in [A-Z]*_API_KEY holds a space or a character") as caught:
            system.judge(server, sender=patient())(pictures(1), ITEMS[:1])
        assert server.requests == []
    assert "123456" not in everything(caught.value) and given not in everything(caught.value)


def test_no_more_questions_are_on_their_way_than_threads_whoever_takes_the_answers():
    sent = []
    answers = patient(threads=3).each(lambda n=n: sent.append(n) or Answer("A") for n in range(50))
    for taken, _ in enumerate(answers):
        time.sleep(0.002)
        assert len(sent) <= taken + 3


# Pace and cost


def test_requests_keep_the_pace_over_calls_and_retries(system):
    time, sent = Time(), []

    def answer(request):
        sent.append(time.at)
        return system.error(503) if len(sent) == 2 else system.says("A")

    with Server(answer) as server:
        judge = system.judge(server, sender=patient(time, a_minute=12))
        judge(pictures(2), ITEMS[:2])
        judge(pictures(2), ITEMS[:2])
    np.testing.assert_allclose(sent, [0, 5, 10, 15, 20])


def test_all_threads_share_one_pace():
    time = Time()
    sender = Sender(a_minute=60, threads=4, clock=Clock(lambda: 0.0, time.sleep, lambda: 0.0, lambda: 0.0))
    assert len(list(sender.each([lambda: Answer("A")] * 12))) == 12
    assert sorted(time.slept) == [float(n) for n in range(1, 12)]


def test_no_more_than_the_threads_ask_at_once():
    import threading

    lock, here, most = threading.Lock(), [0], [0]
    enough = threading.Barrier(3)

    def send():
        with lock:
            here[0] += 1
            most[0] = max(most[0], here[0])
        enough.wait(10)
        with lock:
            here[0] -= 1
        return Answer("A")

    assert sorted(at for at, _ in patient(threads=3).each([send] * 9)) == list(range(9))
    assert most == [3]


@pytest.mark.parametrize("name", ["a_minute", "threads", "attempts", "timeout"])
def test_a_sender_that_cannot_send_is_refused(name):
    whole = name in ("threads", "attempts")
    for value in (0, -1, 10**400, -(10**400)) if whole else (0.0, -1.0, math.nan, math.inf, 1e300):
        with pytest.raises(InterpError, match=f"^{name}=.{{1,40}}: give a (whole )?number from [^\n]* to [^\n]*$"):
            Sender(**{name: value})


@pytest.mark.parametrize("name", ["first_wait", "longest_wait", "lost_in_a_row"])
def test_waits_that_are_none_are_refused(name):
    for value in (-1, 10**400) if name == "lost_in_a_row" else (-1.0, math.nan, math.inf, 1e300):
        with pytest.raises(InterpError, match=f"^{name}="):
            Sender(**{name: value})


def test_the_cost_is_estimated_from_the_sizes(system):
    with Server(Reply()) as server:
        judge = system.judge(server)
        text = math.ceil(len(base.question(LABELS)) / 4)
        found = judge.estimate([np.zeros((300, 200, 3), np.uint8)] * 10)
        one = {OpenAi: 85 + 170, Gemini: 258}[system]
        assert (found.questions, found.input_tokens, found.output_tokens) == (10, 10 * (text + one), 10)
        assert found.usd is None
        assert "price unknown, give price=(input, output)" in str(found)
        priced = system.judge(server, price=(0.3, 2.5)).estimate([np.zeros((300, 200, 3), np.uint8)] * 1000)
        assert priced.usd == pytest.approx((1000 * (text + one) * 0.3 + 1000 * 2.5) / 1e6)
        assert str(priced).endswith(f": {priced.usd:.2f} USD")
        assert server.requests == []


def test_tokens_of_pictures_are_those_of_the_documents():
    sizes = {(512, 512): 255, (1024, 1024): 765, (2048, 4096): 1105, (4096, 8192): 1105, (100, 100): 255}
    assert {s: OpenAiJudge.image_tokens(*s) for s in sizes} == sizes
    sizes = {(384, 384): 258, (384, 100): 258, (960, 540): 1548, (1024, 1024): 4 * 258}
    assert {s: GeminiJudge.image_tokens(*s) for s in sizes} == sizes


# What the judge is


def test_the_digest_follows_all_that_decides_the_answers_and_nothing_else():
    def of(**changes):
        return OpenAiJudge(**{"labels": LABELS, "model": "m", "base_url": "http://h/v1", **changes}).digest

    changed = [
        of(),
        of(model="n"),
        of(labels=(*LABELS[1:4], LABELS[0], LABELS[4])),
        of(base_url="http://g/v1"),
        of(logprobs=5),
    ]
    assert len(set(changed)) == len(changed)
    assert of(price=(1.0, 2.0)) == of(sender=patient()) == of(base_url="http://h/v1/") == of()
    google = [GeminiJudge(LABELS, **s).digest for s in ({}, {"model": "x"}, {"thinking": 128})]
    assert len({*google, of()}) == 4


@pytest.mark.parametrize("kind", [lambda labels: OpenAiJudge(labels, "m"), GeminiJudge])
def test_labels_that_cannot_be_asked_are_refused(kind):
    with pytest.raises(InterpError, match="lack 'Unrecognisable'"):
        kind(LABELS[:4])
    with pytest.raises(InterpError, match="'Japan' is given twice"):
        kind((*LABELS, "Japan"))
    with pytest.raises(InterpError, match="53 options asked; there are letters for 52"):
        kind((*map(str, range(52)), UNRECOGNISABLE))


def test_importing_the_judges_imports_no_client():
    code = (
        "import sys, interp.metrics.judges.remote.gemini, interp.metrics.judges.remote.openai\n"
        "print([m for m in ('httpx2', 'transformers') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said.replace("'", '"')) == []
