"""One imaplib session. The scene is the argument; host, account and the like come as JSON in the environment variable
SCENE, so that no password stands in an argument list. Results are lines on standard output, each flushed at once, since
the test waits for some of them. Any surprise ends the program with a traceback and status 1."""

import hashlib
import imaplib
import json
import os
import re
import socket
import ssl
import sys

scene = json.loads(os.environ["SCENE"])
socket.setdefaulttimeout(30)
imaplib._MAXLINE = 1 << 20


class IMAP(imaplib.IMAP4):
    """imaplib has no parameter for the address to connect from."""

    def _create_socket(self, timeout):
        sock = socket.create_connection(
            (self.host, self.port), 30, source_address=(scene["source"], 0)
        )
        if scene["door"] == "implicit":
            # A FIN without close_notify is an error then, not an end.
            sock = trust().wrap_socket(
                sock, server_hostname=self.host, suppress_ragged_eofs=False
            )
        return sock


def trust():
    return ssl.create_default_context(cafile=scene["ca"])


def connect():
    conn = IMAP(scene["host"], scene["port"])
    if scene["door"] == "starttls":
        conn.starttls(trust())
    return conn


def say(*words):
    print(*words, flush=True)


def landed(conn):
    """Where the session is: the first message's subject ends in the server's name."""
    expect(conn.select("INBOX"), "OK")
    status, data = conn.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert status == "OK", data
    return re.search(rb"Subject: on (\w+)", data[0][1]).group(1).decode()


def expect(answer, status):
    assert answer[0] == status, answer
    return answer[1]


def refused(call, *args):
    try:
        answer = call(*args)
    except imaplib.IMAP4.error as err:
        return str(err)
    raise AssertionError("accepted: %r" % (answer,))


def bearer(token):
    return ("user=%s\1auth=Bearer %s\1\1" % (scene["user"], token)).encode()


def plain():
    return ("\0%s\0%s" % (scene["user"], scene["password"])).encode()


def do_login(conn):
    conn.login(scene["user"], scene["password"])


def do_plain(conn):
    conn.authenticate("PLAIN", lambda _: plain())


def do_loginmech(conn):
    answers = {b"Username:": scene["user"], b"Password:": scene["password"]}
    conn.authenticate("LOGIN", lambda prompt: answers[prompt].encode())


def do_xoauth2(conn):
    conn.authenticate("XOAUTH2", lambda _: bearer(scene["token"]))


def do_expired(conn):
    """The server explains itself in a challenge; then the same connection logs in with a good token."""
    seen = []

    def answer(challenge):
        if not challenge:
            return bearer(scene["expired"])
        seen.append(json.loads(challenge))
        return b""

    refused(conn.authenticate, "XOAUTH2", answer)
    assert len(seen) == 1 and seen[0]["status"], seen
    say("challenge", seen[0]["status"])
    do_xoauth2(conn)


def do_retry(conn):
    say("refused", refused(conn.login, scene["user"], "wrong"))
    conn.login(scene["user"], scene["password"])


def do_idle(conn):
    """This imaplib knows no IDLE: sent by hand. The test appends a message once it has read the word idling."""
    do_login(conn)
    before = int(expect(conn.select("INBOX"), "OK")[0])
    tag = conn._new_tag()
    conn.send(tag + b" IDLE\r\n")
    line = conn.readline()
    assert line.startswith(b"+ "), line
    say("idling")
    while line != b"* %d EXISTS\r\n" % (before + 1):
        line = conn.readline()
        assert line, "closed while idling"
    say("notified")
    conn.send(b"DONE\r\n")
    while not line.startswith(tag):
        line = conn.readline()
        assert line, "closed after DONE"
    assert b" OK " in line, line


def do_cutover(conn):
    """Idle until the connection ends, as a mail client does, then come back."""
    do_login(conn)
    say("first", landed(conn))
    conn.send(b"x1 IDLE\r\n")
    assert conn.readline().startswith(b"+ ")
    say("idling")
    while conn.readline():
        pass
    say("ended")
    again = connect()
    do_login(again)
    say("landed", landed(again))
    again.logout()
    sys.exit(0)


def do_resume(conn):
    """The next connection resumes the session of this one."""
    do_login(conn)
    landed(conn)
    sock = socket.create_connection(
        (scene["host"], scene["port"]), 30, source_address=(scene["source"], 0)
    )
    again = conn.sock.context.wrap_socket(
        sock, server_hostname=scene["host"], session=conn.sock.session
    )
    assert again.session_reused, "a full handshake"
    assert again.version() == "TLSv1.3", again.version()
    assert again.recv(100).startswith(b"* OK")
    again.close()


def do_bulk(conn):
    """A large message there and back."""
    do_login(conn)
    size = scene["size"]
    line = bytes(65 + i % 26 for i in range(76)) + b"\r\n"
    message = b"Subject: bulk\r\n\r\n" + line * (size // len(line))
    message += b"x" * (size - len(message) - 2) + b"\r\n"
    expect(conn.append("INBOX", None, None, message), "OK")
    count = expect(conn.select("INBOX"), "OK")[0]
    data = expect(conn.fetch(count.decode(), "(BODY.PEEK[])"), "OK")
    got = data[0][1]
    assert hashlib.sha256(got).digest() == hashlib.sha256(message).digest(), len(got)
    say("bytes", len(got))


def main():
    conn = connect()
    globals()["do_" + sys.argv[1]](conn)
    say("landed", landed(conn))
    assert conn.logout()[0] == "BYE"


main()
