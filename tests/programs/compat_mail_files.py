"""The matrix: remote shells, files, mail, version control."""

import os
import pathlib
import shutil

from compat import case, contains, equal
from foyer_test import vsftpd_conf


@case("sshd", "ssh", "scp", "sftp", "ssh-keygen", packages="openssh-server openssh-client")
def openssh(t):
    """sshd (forks, executes itself again, sandbox); ssh, scp, sftp, a multiplexed and a
    forwarded connection; the session's programs are on the host of sshd."""
    keys = t.folder("ssh", mode=0o700)
    for key in ("host", "user"):
        t.run("box", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / key)
    shutil.copy(keys / "user.pub", keys / "authorized")
    if t.is_root:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    conf = t.write("sshd_config", f"""Port 22
HostKey {keys}/host
PidFile {t.dir}/sshd.pid
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
AuthorizedKeysFile {keys}/authorized
Subsystem sftp internal-sftp
""")
    t.serve("box", shutil.which("sshd", path=t.env["PATH"]), "-D", "-e", "-f", conf, port=22)
    options = ("-F", "/dev/null", "-i", keys / "user", "-o", "BatchMode=yes", "-o",
               "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
               "LogLevel=ERROR")
    target = f"{t.user}@{t.at('box')}"
    equal(t.out("visitor", "ssh", *options, target, "echo from there; exit 3", check=False),
          "from there\n")
    t.is_data(t.run("visitor", "ssh", *options, target, "cat", input=t.data).stdout)
    t.run("visitor", "scp", *options, t.site / "file.bin", f"{target}:{t.dir}/copy")
    t.is_data(t.dir / "copy")
    t.run("visitor", "scp", *options, f"{target}:{t.dir}/copy", t.dir / "back")
    t.is_data(t.dir / "back")
    t.run("visitor", "sftp", *options, "-b", "-", target,
          input=f"get {t.dir}/copy {t.dir}/third\n")
    t.is_data(t.dir / "third")
    got = t.out("visitor", "ssh", *options, "-o", "ControlMaster=auto", "-o",
                f"ControlPath={t.dir}/mux", "-o", "ControlPersist=20", target, "echo 1")
    equal(got, "1\n")
    got = t.out("visitor", "ssh", *options, "-o", f"ControlPath={t.dir}/mux", target, "echo 2")
    equal(got, "2\n")
    t.run("visitor", "ssh", *options, "-o", f"ControlPath={t.dir}/mux", "-O", "exit", target)
    t.serve("box", "python3", "-m", "http.server", "8000", "-d", t.site, port=8000)
    t.serve("visitor", "ssh", *options, "-N", "-L", "9000:127.0.0.1:8000", target, port=9000)
    t.is_data(t.out("visitor", "curl", "-sS", "http://127.0.0.1:9000/file.bin", text=False))
    got = t.out("visitor", "ssh", *options, target,
                "curl -sS --noproxy '*' http://127.0.0.1:8000/index.html")
    equal(got, "hello from foyer\n")


@case("vsftpd", "lftp", "wget", "curl", packages="vsftpd lftp",
      note="with seccomp_sandbox=NO: vsftpd's sandbox kills it when foyer's library calls ppoll; "
      "on the kernel's sockets it kills it, too, when a folder is listed (newfstatat)")
def vsftpd_lftp(t):
    """vsftpd (a process per session); lftp passive and active, mirror; wget; curl."""
    conf = vsftpd_conf(t.dir, t.site)
    t.site.chmod(0o555)
    t.serve("files", "vsftpd", conf, port=21)
    ftp_clients(t)


@case("inetd", "vsftpd", "lftp", "wget", "curl", packages="openbsd-inetd vsftpd lftp")
def inetd_vsftpd(t):
    """openbsd-inetd: vsftpd with the connection as stdin and stdout; the same clients."""
    conf = vsftpd_conf(t.dir, t.site)
    conf.write_text(conf.read_text(encoding="utf-8").replace("listen=YES", "listen=NO"),
                    encoding="utf-8")
    t.site.chmod(0o555)
    inetd = t.write("inetd.conf", f"21 stream tcp nowait {t.user} /usr/sbin/vsftpd vsftpd {conf}\n")
    t.serve("files", "inetd", "-d", "-i", inetd, port=21)
    ftp_clients(t)


@case("proftpd", "lftp", "wget", "curl", packages="proftpd-core lftp", root=True)
def proftpd_lftp(t):
    """proftpd, standalone, anonymous; lftp passive and active, mirror; wget; curl."""
    group = os.popen("id -gn").read().strip()
    conf = t.write("proftpd.conf", f"""ServerType standalone
Port 21
UseIPv6 off
User {t.user}
Group {group}
PidFile {t.dir}/proftpd.pid
ScoreboardFile {t.dir}/scoreboard
DelayEngine off
WtmpLog off
TransferLog none
SystemLog {t.dir}/proftpd-log.out
AuthOrder mod_auth_file.c mod_auth_unix.c
RequireValidShell off
RootLogin on
UseFtpUsers off
UseReverseDNS off
<Anonymous {t.site}>
User {t.user}
Group {group}
UserAlias anonymous {t.user}
AnonRequirePassword off
RequireValidShell off
</Anonymous>
""")
    t.serve("files", "proftpd", "-n", "-q", "-c", conf, port=21)
    ftp_clients(t)


def ftp_clients(t):
    url = f"ftp://{t.at('files')}"
    for mode in ("on", "off"):
        t.run("visitor", "lftp", "-c", f"set ftp:passive-mode {mode}; set net:timeout 10; "
              f"set net:max-retries 2; open {url}; mirror . {t.dir}/lftp-{mode}")
        t.is_data(t.dir / f"lftp-{mode}" / "file.bin")
    t.run("visitor", "wget", "-q", "-O", t.dir / "wget", f"{url}/file.bin")
    t.is_data(t.dir / "wget")
    for mode in ((), ("-P", "-"), ("--disable-epsv",)):
        t.is_data(t.out("visitor", "curl", "-sS", *mode, f"{url}/file.bin", text=False))


@case("in.tftpd", "tftp", packages="tftpd-hpa tftp-hpa", root=True)
def tftp(t):
    """tftpd-hpa (a process and a new UDP port per transfer); tftp get and put."""
    t.folder("site", mode=0o777)
    t.serve("files", "in.tftpd", "-L", "-c", "-u", "nobody", "-s", t.site, port=69,
            protocol="udp")
    at = server_address(t)
    t.run("visitor", "tftp", at, "-m", "binary", "-c", "get", "file.bin", t.dir / "got")
    t.is_data(t.dir / "got")
    t.run("visitor", "tftp", at, "-m", "binary", "-c", "put", t.dir / "got", "put.bin")
    t.is_data(t.site / "put.bin")


def server_address(t):
    return t.building.address("files") if t.on == "foyer" else "127.0.0.1"


@case("git", packages="git")
def git_daemon(t):
    """git daemon (a process per request with the connection as stdin); clone, push, fetch."""
    env = {**t.env, "GIT_CONFIG_GLOBAL": str(t.write(
        "gitconfig", "[user]\nname = n\nemail = n@test\n[safe]\ndirectory = *\n"
        "[init]\ndefaultBranch = main\n"))}
    t.env.update(env)
    work = t.folder("work")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "one")):
        (work / "file.bin").write_bytes(t.data)
        t.run("files", "git", "-C", work, *command)
    bare = t.dir / "repos" / "project.git"
    t.run("files", "git", "clone", "-q", "--bare", work, bare)
    t.serve("files", "git", "daemon", "--export-all", "--enable=receive-pack",
            f"--base-path={t.dir}/repos", "--reuseaddr", port=9418)
    url = f"git://{t.at('files')}/project.git"
    t.run("visitor", "git", "clone", "-q", url, t.dir / "clone")
    t.is_data(t.dir / "clone" / "file.bin")
    t.run("visitor", "git", "-C", t.dir / "clone", "commit", "-q", "--allow-empty", "-m", "two")
    t.run("visitor", "git", "-C", t.dir / "clone", "push", "-q", "origin", "HEAD:main")
    equal(t.out("files", "git", "-C", bare, "log", "--format=%s", "main"), "two\none\n")
    t.run("visitor", "git", "clone", "-q", "--depth", "1", url, t.dir / "shallow")
    equal(t.out("visitor", "git", "-C", t.dir / "shallow", "log", "--format=%s"), "two\n")


@case("rsync", packages="rsync")
def rsync_daemon(t):
    """rsync daemon (a process per connection); a tree down, changes up, with checksums."""
    up = t.folder("up")
    owner = "uid = root\ngid = root\n" if t.is_root else ""
    conf = t.write("rsyncd.conf", f"""use chroot = no
{owner}pid file = {t.dir}/rsyncd.pid
lock file = {t.dir}/rsyncd.lock
[down]
path = {t.site}
[up]
path = {up}
read only = no
""")
    for i in range(300):
        (t.site / f"small{i}").write_text(f"{i}\n" * i)
    t.serve("files", "rsync", "--daemon", "--no-detach", "--config", conf, port=873)
    url = f"rsync://{t.at('files')}"
    t.run("visitor", "rsync", "-a", f"{url}/down/", t.dir / "down")
    t.is_data(t.dir / "down" / "file.bin")
    equal(len(list((t.dir / "down").iterdir())), 302)
    with open(t.dir / "down" / "file.bin", "r+b") as changed:
        changed.seek(1_000_000)
        changed.write(b"changed")
    t.run("visitor", "rsync", "-acz", f"{t.dir}/down/", f"{url}/up/")
    t.is_data(up / "file.bin", (t.dir / "down" / "file.bin").read_bytes())


SMTP_CLIENT = r"""
import smtplib, sys, email.message
user, data = sys.argv[2], sys.stdin.read()
with smtplib.SMTP(sys.argv[1], int(sys.argv[3]), timeout=20) as s:
    for n in range(3):
        m = email.message.EmailMessage()
        m["From"], m["To"], m["Subject"] = "a@test", user, f"letter {n}"
        m.set_content(data)
        s.send_message(m)
    try:
        s.sendmail("a@test", ["nobody-of-this-name@elsewhere.test"], "x")
    except smtplib.SMTPRecipientsRefused:
        print("refused as it should be")
"""

EXIM = """
exim_user = {user}
exim_group = {group}
spool_directory = {dir}/spool
log_file_path = {dir}/spool/%slog.out
pid_file_path = {dir}/exim.pid
primary_hostname = mail.test
daemon_smtp_ports = 25
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
never_users =
keep_environment =
deliver_drop_privilege = true
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept domains = mail.test
  deny
begin routers
local:
  driver = accept
  domains = mail.test
  transport = file
begin transports
file:
  driver = appendfile
  file = {dir}/spool/box
  user = {user}
  group = {group}
"""


@case("exim4", "python3", packages="exim4-daemon-light python3")
def exim(t):
    """exim (a process per connection and per delivery); python's smtplib sends three letters."""
    user = "Debian-exim" if t.is_root else t.user
    group = user if t.is_root else os.popen("id -gn").read().strip()
    t.folder("spool", user)
    conf = t.write("exim.conf", EXIM.format(user=user, group=group, dir=t.dir))
    program = "exim4"
    if not t.is_root:
        # The packaged file is set-user-ID; the copy is the same program without that.
        program = t.dir / "exim4"
        shutil.copy("/usr/sbin/exim4", program)
        program.chmod(0o755)
    t.serve("mail", program, "-C", conf, "-bdf", "-q30m", port=25)
    text = "".join(f"line {i} {'.' * (i % 70)}\n" for i in range(20000))
    got = t.out("visitor", "python3", "-c", SMTP_CLIENT, t.at("mail"), "root@mail.test", "25",
                input=text)
    equal(got, "refused as it should be\n")
    box = t.dir / "spool" / "box"
    from foyer_test import wait_until
    wait_until(lambda: box.exists() and box.read_text().count("Subject: letter") == 3
               and box.read_text().count("line 19999 ") == 3, "three letters in the box")


@case("python3", packages="python3-aiosmtpd python3")
def aiosmtpd(t):
    """aiosmtpd (asyncio); smtplib sends three letters with 1 MB each, one is refused."""
    t.run("mail", "python3", "-c", "import aiosmtpd")
    server = t.serve("mail", "python3", "-c", r"""
import asyncio, hashlib
from aiosmtpd.smtp import SMTP
class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if not address.endswith("mail.test"):
            return "550 not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        print(hashlib.sha256(envelope.content).hexdigest(), len(envelope.content), flush=True)
        return "250 OK"
async def main():
    s = await asyncio.get_running_loop().create_server(lambda: SMTP(Handler()), "0.0.0.0", 25)
    await s.serve_forever()
asyncio.run(main())
""", port=25)
    text = "".join(f"line {i} {'.' * (i % 70)}\n" for i in range(20000))
    got = t.out("visitor", "python3", "-c", SMTP_CLIENT, t.at("mail"), "root@mail.test", "25",
                input=text)
    equal(got, "refused as it should be\n")
    sums = server.log.read_text().split("\n")
    equal(len([s for s in sums if s]), 3)


DOVECOT = """
base_dir = {dir}/dovecot
state_dir = {dir}/dovecot
log_path = /dev/stderr
protocols = imap pop3
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{dir}/mail/%u
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={dir}/mail/%u
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
}}
service pop3-login {{
  chroot =
}}
"""

MAIL_CLIENT = r"""
import imaplib, poplib, sys
with imaplib.IMAP4(sys.argv[1], timeout=20) as m:
    m.login("anna", "secret")
    letter = b"Subject: one\r\n\r\n" + b"content %s\r\n" * 40000
    assert m.append("INBOX", None, None, letter)[0] == "OK"
    assert m.select()[1] == [b"1"]
    data = m.fetch("1", "(RFC822)")[1][0][1]
    assert data == letter, (len(data), len(letter))
p = poplib.POP3(sys.argv[1], timeout=20)
p.user("anna"); p.pass_("secret")
assert p.stat()[0] == 1
lines = p.retr(1)[1]
assert len(lines) == 40002, len(lines)
p.dele(1); p.quit()
print("fine")
"""


@case("dovecot", "python3", "curl", packages="dovecot-imapd dovecot-pop3d")
def dovecot(t):
    """dovecot (login processes pass the connection on by descriptor); IMAP and POP3 from python,
    IMAP from curl."""
    root = t.is_root
    group = "nogroup" if root else os.popen("id -gn").read().strip()
    user = "nobody" if root else t.user
    t.folder("mail", user)
    t.folder("dovecot")
    conf = t.write("dovecot.conf", DOVECOT.format(
        dir=t.dir, internal="dovecot" if root else t.user,
        internal_group="dovecot" if root else group, login="dovenull" if root else t.user,
        user=user, group=group))
    t.serve("mail", "dovecot", "-F", "-c", conf, port=143)
    equal(t.out("visitor", "python3", "-c", MAIL_CLIENT, t.at("mail")), "fine\n")
    got = t.out("visitor", "curl", "-sS", "-u", "anna:secret", f"imap://{t.at('mail')}/INBOX",
                "-X", "STATUS INBOX (MESSAGES)")
    contains(got, "MESSAGES 0")
