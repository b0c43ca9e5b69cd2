"""A request to a service on this machine, over a real socket: what is not a whole answer is refused."""

import socket
import threading

import pytest

from actors.system import local_http


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def answered(answer: bytes, path="/status", **headers):
    """What `get` returns for an answer, and the request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(1 << 16))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return local_http.get(address_of(listener), path, headers, 20.0), asked[0]
        finally:
            thread.join()


def test_the_body_is_returned_and_the_headers_are_sent():
    body, request = answered(
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\r\n}", "/a?b=c", Authorization="x"
    )
    assert body == b"{\r\n}"
    assert request.startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nConnection: close\r\n" in request and request.endswith(b"\r\nAuthorization: x\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "HTTP Error 401: Unauthorized"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "ended after 2 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "not HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
    ],
)
def test_what_is_not_a_whole_answer_is_refused(answer, why):
    with pytest.raises(ValueError, match=why):
        answered(answer)


def test_nobody_who_answers_is_an_error_of_the_connection():
    with pytest.raises(ConnectionResetError, match="without an answer"):
        answered(b"")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = address_of(listener)
        with pytest.raises(TimeoutError):
            local_http.get(address, "/", {}, 0.05)
    with pytest.raises(ConnectionRefusedError):
        local_http.get(address, "/", {}, 20.0)
