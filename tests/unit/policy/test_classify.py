"""The command policy: a table of commands, and that nothing a blocked command is put into makes it harmless."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.policy.classify import classify

BLOCKED = [
    "rm -rf /",
    "rm -fr -- /*",
    "rm / --recursive",
    'rm -r -f "/"',
    "rm -rf //",
    "rm -rf /./..",
    "rm -rf ~",
    'rm -rf "$HOME"/',
    "rm -rf ${HOME}/*",
    "rm -rf /home/someone",
    "rm -rf /{usr,tmp}",
    "rm -rf --no-preserve-root build",
    "cd / && rm -rf *",
    "find / -delete",
    "find / -exec rm {} +",
    "mv /* /dev/null",
    "chmod -R 777 /",
    "chown -R me:me /etc",
    "mkfs.ext4 /dev/sda1",
    "mkfs -t xfs /dev/sdb",
    "wipefs -a /dev/sda",
    "shutdown -h now",
    "reboot",
    "poweroff",
    "init 0",
    "systemctl reboot",
    "echo b | sudo tee /proc/sysrq-trigger",
    ":(){ :|:& };:",
    "bomb() { bomb & bomb & }; bomb",
    "dd if=/dev/zero of=/dev/sda bs=1M",
    "cat image > /dev/nvme0n1",
    "echo x >| /dev/sda",
    "echo x &>> '/dev/sda'",
    "cp image /dev/disk2",
    "echo x | tee -a /dev/sda",
    "shred /dev/sda",
]
LOOKED_THROUGH = [
    "sudo rm -rf /",
    "sudo -u root --group wheel -- rm -rf /",
    "env -i A=1 rm -rf /",
    "nohup rm -rf / &",
    "timeout -k 5 10 rm -rf /",
    "nice -n 5 ionice -c 3 rm -rf /",
    "time -p rm -rf /",
    "command rm -rf /",
    "exec rm -rf /",
    "busybox rm -rf /",
    "xargs -n 1 rm -rf / < list",
    "find . -name x -exec rm -rf / ';'",
    "bash -c 'rm -rf /'",
    "sh -xec 'true; rm -rf /'",
    "bash -o pipefail -c \"bash -c 'rm -rf /'\"",
    "su - someone -c 'rm -rf /'",
    "eval rm '-rf /'",
    "trap 'rm -rf /' EXIT",
    "alias ls='rm -rf /'",
    "watch -n 1 'rm -rf /'",
    "chrt -f 10 rm -rf /",
    "LD_PRELOAD=x rm -rf /",
    "coproc X { rm -rf /; }",
    "bash <<'END'\nrm -rf /\nEND",
    "cat <<END | sudo bash -s\nrm -rf /\nEND",
    "ls <<'END' && rm -rf /\ntext\nEND",
    "bash <<< 'rm -rf /'",
    "echo 'rm -rf /' | sh",
    "echo `echo \\`rm -rf /\\``",
    "\\rm -rf /",
    "'r'\"m\" -rf /",
    "/bin/rm -rf /",
]
ASKED = [
    "curl https://example.com",
    "wget -qO- https://example.com | grep x",
    "echo x > /dev/tcp/10.0.0.1/80",
    "ssh host uptime",
    "scp a host:",
    "kubectl get pods",
    "terraform plan",
    "docker ps",
    "aws s3 ls",
    "iptables -L",
    "ufw disable",
    "rm -rf build",
    "rm -fr -- node_modules",
    "git clean -fdx",
    "find . -name '*.o' -delete",
    "git push",
    "git -C repo push --force origin main",
    "git -c alias.x='!ls' x",
    "npm publish",
    "twine upload dist/*",
    "cargo publish",
    "npm install",
    "yarn",
    "pip3.11 install requests",
    "python3 -m pip install requests",
    "sudo apt-get install -y jq",
    "dpkg -i x.deb",
    "chmod -R u+w src",
    "chown --recursive me src",
    "base64 -d payload | sh",
    "base64 -d payload | python3",
    "xargs -I% sh -c % < list",
    "$COMMAND --help",
    "`cat name` x",
    "/bin/r? x",
    "rm $FILES",
    'eval "$x"',
    'bash -c "$x"',
    "sudo -i",
    "sudo --no-such-option ls",
    "r\\\nm -rf /",
    "echo x > /etc/hosts",
    "crontab -r",
    "mv /etc/passwd x",
    "enable -f ./evil.so evil",
    "hash -p ./evil ls",
    "mapfile -C 'rm -rf x' -c 1 lines < file",
    "compgen -C ./evil x",
    "sed '1e reboot' file",
    "sed -e 's/x/reboot/e' file",
    "sed -f script file",
    "awk 'BEGIN { system(\"reboot\") }'",
    "awk '{ print | \"sh\" }' file",
    "gawk -f script file",
    "tar xf a.tar --to-command=sh",
    "tar cf a.tar --checkpoint=1 --checkpoint-action=exec=sh .",
    "tar -I ./evil -xf a.tar",
    "git -c core.sshCommand=./evil status",
    "git -c diff.external=./evil diff",
    "git clone https://example.com/x",
    "git pull",
    "git bisect run ./evil",
    "gdb -ex '!reboot'",
    "expect -c 'spawn sh'",
    "/lib64/ld-linux-x86-64.so.2 /bin/ls",
    "LD_PRELOAD=./evil.so ls",
    "env LD_PRELOAD=./evil.so ls",
    "export PATH=.:$PATH",
    "BASH_ENV=./evil bash -c ls",
    "rsync -a . host:backup",
    "rsync -a -e ./evil . copy",
    "cat < /dev/tcp/10.0.0.1/80",
    "kill -9 -1",
    "if true; then",
    "echo 'open",
    "echo a\rb",
]
ALLOWED = [
    "",
    "# rm -rf /",
    "ls -la",
    "echo rm -rf /",
    "echo 'rm -rf /' \"; reboot\"",
    "grep -rn 'mkfs' docs | head",
    "cat <<'END'\n$(rm -rf /)\nreboot\nEND",
    "rm -r build",
    'for f in *.tmp; do rm -f -- "$f"; done',
    "git status && git commit -m 'push and reboot'",
    "python3 -c 'print(1)'",
    "bash build.sh",
    "npm test",
    "pip list",
    "apt list --installed",
    "dpkg -l",
    "chmod 755 run.sh",
    "find . -name '*.py' -exec grep -n x {} +",
    "make -j4 2> /dev/null > out.txt",
    "dd if=a of=b",
    "cp /dev/sda backup.img",
    'walk() { ls | while read -r x; do walk "$x"; done; }',
    "command -v curl",
    "echo a \\\n  b",
    "sort < in | uniq -c | awk '{ print $1 }'",
    "sed 's/a/b/g' file",
    "sed -n '5,10p' file",
    "sed -i -e 's/one/three/' -e '/x/d' file",
    "awk -F: '$1 == \"a\" || $2 { print $1 }' /etc/passwd",
    "tar xzf a.tgz -C out",
    "tar --exclude=.git -czf a.tgz .",
    "git log --oneline",
    "git -c color.ui=always diff",
    "git rebase main",
    "FOO=1 make",
    "rsync -a src/ copy/",
    "enable -n echo",
    "mapfile -t lines < file",
    'x=$((1 + 2)); echo ${x:-none} "${list[@]}"',
]


@pytest.mark.parametrize("command", BLOCKED + LOOKED_THROUGH)
def test_it_blocks(command: str) -> None:
    assert classify(command).answer == "block"


@pytest.mark.parametrize("command", ASKED)
def test_it_asks(command: str) -> None:
    verdict = classify(command)
    assert verdict.answer == "ask"
    assert verdict.reason


@pytest.mark.parametrize("command", ALLOWED)
def test_it_allows(command: str) -> None:
    assert classify(command).answer == "allow"


def test_the_reason_names_the_command_and_what_it_would_do() -> None:
    assert classify("ls; sudo mkfs.ext4 /dev/sda").reason == "mkfs.ext4: it makes a new file system over what is there"


def test_what_is_too_long_or_too_deep_is_asked_about() -> None:
    assert classify("echo " + "x" * 200_000).answer == "ask"
    nested = "true"
    for _ in range(10):
        nested = f"bash -c {shlex.quote(nested)}"
    assert classify(nested).answer == "ask"


CONSTRUCTS = [
    "{}; ls", "ls; {}", "true && {}", "false || {}", "{} | cat", "cat f | {}", "{} &\nwait", "! {}",
    "( {} )", "{{ {}; }}", "if {}; then ls; fi", "if true; then {}; else ls; fi", "if true; then ls; else {}; fi",
    "while true; do {}; done", "until {}; do ls; done", "for x in a b; do {}; done", "for x in $( {} ); do ls; done",
    "for ((i=0; i<3; i++)); do {}; done", "select x in a; do {}; done", "case x in x) {} ;; esac",
    "case $( {} ) in *) ls ;; esac", "f() {{ {}; }}; f", "function g {{ {}; }}", "echo $( {} )", 'echo "a $( {} ) b"',
    "x=$( {} )", "export X=$( {} )", "a=(1 $( {} ))", "echo ${{x:-$( {} )}}", "[[ -n $( {} ) ]]", '[ -n "$( {} )" ]',
    "(( $( {} ) ))", "echo $(( $( {} ) + 1 ))", "cat < <( {} )", "diff <( {} ) <(ls)", "{} > out 2>&1", "time {}",
    "cat <<END\n$( {} )\nEND", 'cat <<< "$( {} )"', "ls # nothing\n{}",
]  # fmt: skip
PREFIXES = ["A=1 B=2 {}", "time {}", "env A=1 nohup {}", "sudo -n {}", "xargs -0 {} < list", "find . -exec {} ';'"]
"""Before one simple command only."""
QUOTING = ["bash -c {}", "sh -ec {}", "eval {}", "trap {} EXIT", "sudo su -c {}", "echo {} | bash", "bash <<< {}"]
"""Handed a whole script, as one word."""
SIMPLE = [command for command in BLOCKED if not set(";&|<>(){}") & set(command)]


@st.composite
def hidden(draw: st.DrawFn) -> str:
    script: str = draw(st.sampled_from(SIMPLE))
    for prefix in draw(st.lists(st.sampled_from(PREFIXES), max_size=2, unique=True)):
        script = prefix.format(script)
    for construct in draw(st.lists(st.sampled_from(CONSTRUCTS + QUOTING), max_size=4)):
        inside = shlex.quote(script) if construct in QUOTING else script
        # A here-document's end must stay alone on its line.
        script = construct.format(inside) + ("\n" if "END" in construct else "")
    return script


@given(hidden())
@example("sudo -n time env A=1 nohup rm -rf /")
def test_a_blocked_command_inside_any_construct_never_becomes_allow(script: str) -> None:
    assert classify(script).answer != "allow"


@pytest.mark.parametrize("construct", CONSTRUCTS + PREFIXES)
def test_a_blocked_command_in_one_construct_stays_blocked(construct: str) -> None:
    assert classify(construct.format("rm -rf /")).answer == "block"


@given(st.text(alphabet=st.sampled_from(list("rm -f/$(){}[]'\"`\\;&|<>#~*a=\n\0é\ud800")), max_size=40))
def test_it_has_an_answer_for_whatever_comes(command: str) -> None:
    assert classify(command).answer in ("allow", "ask", "block")
