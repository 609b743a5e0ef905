"""A real mail server for tests: takes every mail and prints it as Python's own parser understands it. Contract: ../README.md

First line of standard output: {"port": N}. Then one line a mail. With MAIL_USER and MAIL_PASSWORD it wants that login, with MAIL_CERT and
MAIL_KEY (PEM files) it offers STARTTLS and takes no mail without it. It ends when its standard input does.
"""
import asyncio
import base64
import email
import email.policy
import json
import logging
import os
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def parts(mail):
    """The first part of each type; of files the bytes in base 64."""
    found = {}
    for part in mail.walk():
        if not part.is_multipart():
            content = part.get_content()
            found.setdefault(part.get_content_type(), base64.b64encode(content).decode() if isinstance(content, bytes) else content)
    return found


class Printer:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "login": session.auth_data.login.decode() if session.authenticated else None,
            "type": mail.get_content_type(),
            "parts": parts(mail),
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "raw": base64.b64encode(envelope.original_content).decode(),
            "defects": [str(defect) for part in mail.walk() for defect in part.defects],
        }), flush=True)
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    wanted = LoginPassword(os.environ["MAIL_USER"].encode(), os.environ["MAIL_PASSWORD"].encode())
    return AuthResult(success=data == wanted, handled=False, auth_data=data)


async def main():
    tls = None
    if "MAIL_CERT" in os.environ:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.environ["MAIL_CERT"], os.environ["MAIL_KEY"])
    wants_login = "MAIL_USER" in os.environ
    options = {
        "hostname": "mail.test",
        "tls_context": tls,
        "require_starttls": tls is not None,
        "authenticator": authenticate if wants_login else None,
        "auth_required": wants_login,
        "auth_require_tls": tls is not None,
    }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Printer(), **options), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


# What a test provokes is no news.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="aiosmtpd")
asyncio.run(main())
