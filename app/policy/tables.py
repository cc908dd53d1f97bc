"""Names of commands and what is thought of them: one reason for each group, as a person reads it."""

from __future__ import annotations


def named(*texts: str) -> list[str]:
    """The names in these texts, which hold several each."""
    return [name for text in texts for name in text.split()]


def told(reason: str, *texts: str) -> dict[str, str]:
    """The reason under each of the names."""
    return dict.fromkeys(named(*texts), reason)


NETWORK = "it reaches the network"
REMOTE = "it works on another machine"
INFRASTRUCTURE = "it works on infrastructure"
FIREWALL = "it changes what may reach the network"
INSTALLS = "it changes what is installed"
PUBLISHES = "it publishes"
MACHINE = "it changes the machine or its users"
OFF = "it turns the machine off"
FILE_SYSTEM = "it makes a new file system over what is there"
DELETES = "it deletes files without asking"
RUNS = "it can run other commands"

ALWAYS_BLOCK = {
    **told(OFF, "shutdown reboot halt poweroff"),
    **told(FILE_SYSTEM, "mkfs mke2fs mkdosfs mkntfs mkreiserfs mkswap newfs wipefs blkdiscard"),
}

ALWAYS_ASK = {
    **told(
        NETWORK,
        "curl wget aria2c http https xh ftp nc ncat netcat socat telnet lynx w3m links elinks nmap masscan tcpdump",
        "gh glab hub smbclient mail sendmail mutt irssi websocat grpcurl psql mysql mariadb mongo mongosh redis-cli",
        "valkey-cli ldapsearch rclone s3cmd mc yt-dlp youtube-dl cloudflared ngrok tailscale",
    ),
    **told(REMOTE, "ssh scp sftp mosh rsh rlogin ssh-copy-id sshpass autossh pssh ssh-keyscan rexec"),
    **told(
        INFRASTRUCTURE,
        "kubectl helm helmfile k9s k3s oc kustomize kubeadm minikube kind terraform terragrunt tofu pulumi cdk cdktf",
        "packer vagrant vault consul nomad ansible ansible-playbook ansible-galaxy chef knife puppet salt docker",
        "docker-compose podman podman-compose nerdctl buildah skopeo ctr crictl lxc lxd incus virsh aws awslocal",
        "gcloud gsutil bq az doctl heroku flyctl fly vercel netlify wrangler eksctl argocd flux istioctl linode-cli",
        "oci ibmcloud serverless sls sam supabase railway firebase cf eb",
    ),
    **told(
        FIREWALL,
        "iptables ip6tables iptables-restore ip6tables-restore nft ufw firewall-cmd ebtables arptables ipset pfctl",
        "tc ip ifconfig route nmcli",
    ),
    **told(INSTALLS, "npx bunx uvx pnpx cpan cpanm luarocks installer softwareupdate easy_install"),
    **told(PUBLISHES, "twine"),
    **told(RUNS, "gdb lldb expect tclsh wish tmux screen socketpair start-stop-daemon dbus-run-session pkexec run0"),
    **told(
        MACHINE,
        "useradd userdel usermod groupadd groupdel groupmod adduser deluser passwd chpasswd visudo vipw mount umount",
        "swapon swapoff insmod rmmod modprobe sysctl at batch chroot nsenter unshare losetup cryptsetup lvcreate",
        "lvremove vgremove pvremove zpool zfs update-grub grub-install setenforce setcap chattr killall5 systemd-run",
        "dscl diskutil csrutil nvram pmset defaults",
    ),
}

POWER = frozenset(("poweroff", "reboot", "halt", "kexec", "soft-reboot", "suspend", "hibernate", "emergency", "rescue"))
"""What systemctl and its like are told to turn the machine off."""

PACKAGE_MANAGERS = told(INSTALLS, "apt apt-get apt-cache aptitude dnf yum zypper apk brew port snap flatpak pkg")
PACKAGE_QUERIES = frozenset(named("list search show info policy help depends rdepends madison outdated"))
"""All else that a package manager is told to do is asked about."""
PACKAGE_FILES = {"dpkg": ("irP", "qlLsS"), "rpm": ("iUeF", "qV"), "pacman": ("SRU", "siQgl")}
"""Option letters that change what is installed, and those that turn the others into a query."""

JAVASCRIPT = {
    **told(INSTALLS, "install i ci add update upgrade up exec dlx x create link remove uninstall rm"),
    **told(PUBLISHES, "publish unpublish deprecate dist-tag access owner token login adduser"),
}
PYTHON = told(INSTALLS, "install uninstall download wheel run inject create update upgrade remove")

SUBCOMMANDS: dict[str, dict[str, str]] = {
    "git": {
        "push": "it publishes commits",
        "send-email": PUBLISHES,
        "clean": DELETES,
        **told(NETWORK, "clone fetch pull ls-remote submodule remote-http remote-https archive svn"),
        **told(RUNS, "bisect filter-branch difftool mergetool config"),
    },
    **dict.fromkeys(("npm", "pnpm", "bun"), JAVASCRIPT),
    "yarn": {**JAVASCRIPT, **told(INSTALLS, "global"), "": INSTALLS, "npm": PUBLISHES},
    **dict.fromkeys(("pip", "pipx", "conda", "mamba", "micromamba"), PYTHON),
    "uv": {**told(INSTALLS, "pip add sync tool remove"), "publish": PUBLISHES},
    "poetry": {**told(INSTALLS, "install add update remove"), "publish": PUBLISHES},
    "cargo": {**told(INSTALLS, "install add uninstall"), **told(PUBLISHES, "publish yank owner login")},
    "gem": {**told(INSTALLS, "install update uninstall"), **told(PUBLISHES, "push yank owner")},
    "bundle": told(INSTALLS, "install update add"),
    "composer": told(INSTALLS, "install require update create-project global"),
    "go": told(INSTALLS, "install get"),
    "rustup": told(INSTALLS, "install update toolchain target component self"),
    "nix": told(INSTALLS, "profile run shell develop"),
    "dotnet": {**told(INSTALLS, "add tool"), "nuget": PUBLISHES},
    "openssl": told(NETWORK, "s_client"),
    **dict.fromkeys(("pyenv", "nvm", "asdf", "mise"), told(INSTALLS, "install uninstall")),
    **dict.fromkeys(("hatch", "flit", "gradle", "sbt"), told(PUBLISHES, "publish")),
    "mvn": told(PUBLISHES, "deploy"),
}
GIT_VALUED = frozenset(("-c", "-C", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--super-prefix"))
"""Options of git whose value is the next word."""
HARMLESS_GIT = ("user.", "color.", "advice.", "init.", "core.quotepath", "core.autocrlf", "log.", "column.")
"""Settings of git that name no program."""

PROGRAM_VARIABLES = frozenset(
    named(
        "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES BASH_ENV ENV PROMPT_COMMAND PATH SHELLOPTS BASHOPTS",
        "GIT_SSH GIT_SSH_COMMAND GIT_EXTERNAL_DIFF GIT_PAGER GIT_EDITOR GIT_ASKPASS GIT_PROXY_COMMAND PYTHONSTARTUP",
        "PERL5OPT PERL5LIB RUBYOPT NODE_OPTIONS EDITOR VISUAL PAGER BROWSER LESSOPEN MANPAGER PS4",
    )
)
"""Variables that say which programs are run in a command's place or beside it."""
