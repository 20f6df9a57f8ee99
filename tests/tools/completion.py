"""Completes command lines in a real shell: completion.py GRADHEALTH COMPLETIONS bash|zsh DIRECTORY.
Exit code 77: that shell is missing."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

gradhealth, completions, shell, place = sys.argv[1:]
if shutil.which(shell) is None:
    print("not run: there is no", shell)
    sys.exit(77)
shutil.rmtree(place, ignore_errors=True)
os.makedirs(os.path.join(place, "functions"))
shutil.copy(os.path.join(completions, "gradhealth.zsh"), os.path.join(place, "functions", "_gradhealth"))
open(os.path.join(place, "some run.h5"), "w").close()

arguments = ["bash", "--norc", "--noprofile", "-i"] if shell == "bash" else ["zsh", "-f", "-i"]
process, terminal = pty.fork()
if process == 0:
    os.chdir(place)
    os.environ.update(PATH=os.path.dirname(gradhealth) + ":" + os.environ["PATH"], TERM="xterm", PS1="$ ", HOME=place,
                      INPUTRC="/dev/null", LC_ALL="C.UTF-8")
    os.execvp(arguments[0], arguments)


def read(until, seconds=20):
    text, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
            shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\x1b[=>]|\a", "", text)
            if until(shown):
                return shown
    raise AssertionError(f"not seen in {text!r}")


def send(text):
    os.write(terminal, text.encode())


if shell == "bash":
    send(f"source '{completions}/gradhealth.bash'; bind 'set enable-bracketed-paste off'; echo rea''dy\n")
else:
    send("PS1='$ '; unsetopt zle_bracketed_paste; fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\n")
read(lambda text: "ready\r\n" in text)
time.sleep(0.3)

for typed, completed in [("rec", "gradhealth recover "), ("report --fo", "gradhealth report --format "),
                         ("export x --to csv-", "gradhealth export x --to csv-long "),
                         ("explain vanishing-g", "gradhealth explain vanishing-gradient "),
                         ("check --fail-on w", "gradhealth check --fail-on warning "),
                         ("watch --on", "gradhealth watch --once "),
                         ("report so", "gradhealth report some\\ run.h5 ")]:
    send(f"gradhealth {typed}\t")
    read(lambda text: completed in text)
    send("\x15")  # Forget the line.
    time.sleep(0.1)
send("gradhealth re\t\t")
shown = read(lambda text: "recover" in text and "report" in text)
send("\x15exit\n")
os.close(terminal)

# What is told to every shell.
said = subprocess.run([gradhealth, "__complete", "--", ""], capture_output=True, text=True, check=True).stdout
words = [line.split("\t")[0] for line in said.splitlines()]
help_text = subprocess.run([gradhealth, "--help"], capture_output=True, text=True, check=True).stdout
listed = re.findall(r"^  ([a-z]+) {2,}\S", re.split("Subcommands:|SUBCOMMANDS:", help_text)[1], re.M)
assert words == listed and "report" in words, (words, listed)
assert subprocess.run([gradhealth, "__complete", "--", "report", "x"], capture_output=True, check=True).stdout == b""
print("completed in", shell)
