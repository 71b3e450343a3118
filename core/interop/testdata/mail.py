"""One poplib or smtplib session. The scene is the argument; host, account and the like come as JSON in the environment
variable SCENE, so that no password stands in an argument list. Results are lines on standard output. Any surprise ends
the program with a traceback and status 1."""

import json
import os
import poplib
import smtplib
import socket
import ssl
import sys

scene = json.loads(os.environ["SCENE"])
user, password = scene["user"], scene["password"]
context = ssl.create_default_context(cafile=scene["roots"])


class POP3(poplib.POP3_SSL):
    """poplib has no parameter for the address to connect from."""

    def _create_socket(self, timeout):
        raw = socket.create_connection((self.host, self.port), 30, (scene["source"], 0))
        return context.wrap_socket(raw, server_hostname=self.host)


def say(*words):
    print(*words, flush=True)


def refused(call, *args):
    try:
        answer = call(*args)
    except (poplib.error_proto, smtplib.SMTPAuthenticationError) as err:
        return err.args
    raise AssertionError("accepted: %r" % (answer,))


def pop():
    conn = POP3(scene["host"], scene["port"])
    say("capa", *sorted(conn.capa()))
    return conn


def landed(conn):
    subject = [line for line in conn.retr(1)[1] if line.startswith(b"Subject: ")][0]
    say("landed", subject.decode().split()[-1])


def do_pop(conn=None):
    """USER and PASS, then what a mail program does."""
    conn = conn or pop()
    conn.user(user)
    conn.pass_(password)
    count, size = conn.stat()
    assert count == 1 and size > 0, (count, size)
    assert len(conn.list()[1]) == 1 and len(conn.uidl()[1]) == 1
    assert b"Subject" in b"".join(conn.top(1, 0)[1])
    landed(conn)
    conn.dele(1)
    conn.rset()
    assert conn.quit().startswith(b"+OK")


def do_popretry():
    """A refusal leaves the connection open for another try."""
    conn = pop()
    conn.user(user)
    say("refused", refused(conn.pass_, "wrong")[0].decode())
    do_pop(conn)


def do_poplogin():
    """AUTH PLAIN by hand, prompted: poplib knows no SASL."""
    import base64

    conn = pop()
    conn._putcmd("AUTH PLAIN")
    line = conn.file.readline()
    assert line.startswith(b"+ "), line
    frame = base64.b64encode(("\0%s\0%s" % (user, password)).encode())
    assert conn._shortcmd(frame.decode()).startswith(b"+OK")
    landed(conn)
    conn.quit()


def do_popwrong():
    conn = pop()
    conn.user(user)
    say("refused", refused(conn.pass_, password)[0].decode())


def smtp():
    args = dict(timeout=30, source_address=(scene["source"], 0))
    conn = smtplib.SMTP("", 0, "laptop.example.net", **args)
    conn._host = scene["host"]
    assert conn.connect(scene["host"], scene["port"])[0] == 220
    conn.starttls(context=context)
    conn.ehlo()
    say("mechanisms", conn.esmtp_features["auth"].strip())
    return conn


def send(conn, subject):
    letter = "From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\n.\r\n..\r\nhello\r\n" % (user, user, subject)
    assert conn.sendmail(user, [user], letter) == {}
    assert conn.quit()[0] == 221
    say("sent")


def do_smtp():
    conn = smtp()
    conn.login(user, password)
    send(conn, "by smtplib")


def do_smtplogin():
    conn = smtp()
    conn.user, conn.password = user, password
    assert conn.auth("LOGIN", conn.auth_login)[0] == 235
    send(conn, "by smtplib")


def do_smtpretry():
    """A refusal leaves the connection open for another try, and RSET and NOOP may come between."""
    conn = smtp()
    conn.user, conn.password = user, "wrong"
    say("refused", refused(conn.auth, "PLAIN", conn.auth_plain)[0])
    assert conn.noop()[0] == 250 and conn.rset()[0] == 250
    conn.password = password
    assert conn.auth("PLAIN", conn.auth_plain)[0] == 235
    send(conn, "by smtplib")


def do_smtpearly():
    """MAIL is not for those who have not logged in."""
    conn = smtp()
    code, text = conn.mail(user)
    say("refused", code, text.decode().split()[0])
    conn.login(user, password)
    send(conn, "by smtplib")


globals()["do_" + sys.argv[1]]()
