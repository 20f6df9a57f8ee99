"""Watches real live runs in a pseudo-terminal: watch_terminal.py GRADHEALTH LIVE_TRAINER DIRECTORY."""

import atexit
import codecs
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

gradhealth, trainer, place = sys.argv[1:]
shutil.rmtree(place, ignore_errors=True)
os.makedirs(place)
os.chdir(place)
WIDTH, HEIGHT = 81, 24  # Of which watch leaves a column and a line free.


class Terminal:
    """A command in a terminal, and what that shows: the few control sequences that watch may send."""

    def __init__(self, *arguments, **environment):
        self.master, slave = pty.openpty()
        self.resize(WIDTH, HEIGHT)
        self.process = subprocess.Popen(
            [gradhealth, "watch", *arguments], stdin=slave, stdout=slave, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, "TERM": "xterm", **environment})
        os.close(slave)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.lines, self.row, self.column, self.visible, self.raw = [""], 0, 0, True, b""

    def resize(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self, seconds, until=None):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    return True
                self.raw += data
                self.show(self.decoder.decode(data))
            if until and until():
                return True
        return until is None

    def show(self, text):
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[^\x1b]", text, re.S):
            while len(self.lines) <= self.row:
                self.lines.append("")
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
            elif part[0] != "\x1b":
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[:self.column] + part + line[self.column + 1:]
                self.column += 1
                assert self.column < WIDTH, "the last column was written to"
            elif part.endswith("m"):
                pass
            elif part == "\x1b[?25l":
                self.visible = False
            elif part == "\x1b[?25h":
                self.visible = True
            elif part == "\x1b[K":
                self.lines[self.row] = self.lines[self.row][:self.column]
            elif part == "\x1b[J":
                self.lines = self.lines[:self.row]
            elif part == "\x1b[H":
                self.row = self.column = 0
            elif part == "\x1b[2J":
                self.lines = [""]
            elif part[-1] == "A":
                self.row -= int(part[2:-1])
                assert self.row >= 0
            elif part[-1] == "B":
                self.row += int(part[2:-1])
            else:
                raise AssertionError(f"unknown sequence {part!r}")
        assert len(self.lines) <= HEIGHT, "the screen has moved"

    def text(self):
        return "\n".join(self.lines)

    def sees(self, text, seconds=30):
        assert self.read(seconds, lambda: text in self.text()), f"no {text!r} in:\n{self.text()}"

    def end(self, seconds=30, interrupted=False):
        self.read(seconds, lambda: self.process.poll() is not None)
        self.read(0.3)
        code = self.process.wait(5)
        os.close(self.master)
        assert self.visible, "the cursor is hidden"
        # The key puts ^C wherever the cursor is, and the terminal drops what it has not shown by then.
        assert interrupted or self.column == 0 and self.row == len([l for l in self.lines if l]), (self.row, self.lines)
        return code


def train(name, steps, pause, ending, *fault):
    process = subprocess.Popen([trainer, name, str(steps), str(pause), ending, *map(str, fault)], stdout=subprocess.DEVNULL)
    atexit.register(process.kill)  # However this test ends.
    return process


def once(*arguments):
    return subprocess.run([gradhealth, "watch", *arguments, "--once"], capture_output=True, text=True, check=True).stdout


# From before the run exists to its end: every redrawing leaves the screen as one drawn at once.
terminal = Terminal("run.h5", "--interval", "0.2")
terminal.sees("run.h5  waiting for the run to begin")
begin = time.monotonic()
process = train("run.h5", 100, 30, "close", 40)
terminal.sees("recording")
terminal.sees("steps/s")
terminal.sees("since step 40, fc0.weight: Gradient is not finite [nonfinite-gradient]")
assert terminal.end() == 0
assert process.wait() == 0
assert "finished: UNHEALTHY" in terminal.text()
assert "step 99 " in terminal.text()
assert terminal.text().rstrip("\n") == once("run.h5").rstrip("\n"), terminal.text() + "\n---\n" + once("run.h5")
seconds = time.monotonic() - begin
drawings = terminal.raw.count(b"\x1b[?25l")
assert drawings < seconds / 0.2 + 2, (drawings, seconds)
whole = len(once("run.h5").encode())
print(f"{len(terminal.raw)} bytes in {drawings} drawings, a whole screen has {whole}")

# Ctrl-C ends it at once, as a signal. The terminal may have dropped the end of a drawing then.
process = train("long.h5", 100000, 20, "stay")
terminal = Terminal("long.h5", "--color", "always")
terminal.sees("recording")
assert b"\x1b[1m" in terminal.raw
terminal.visible = False
os.write(terminal.master, b"\x03")
terminal.read(1)
assert terminal.end(5, interrupted=True) == -signal.SIGINT
assert terminal.raw.endswith(b"\x1b[0m\x1b[?25h"), terminal.raw[-40:]
# NO_COLOR and --ascii; a terminal that changes its width.
terminal = Terminal("long.h5", "--ascii", NO_COLOR="1")
terminal.sees("recording")
terminal.sees("loss")
terminal.resize(41, 12)
terminal.read(1.5)
assert all(len(line) <= 40 for line in terminal.lines), terminal.lines
assert len(terminal.lines) <= 12
terminal.process.terminate()
assert terminal.end(5) == -signal.SIGTERM
assert b"m" not in re.sub(rb"[^\x1b]*(\x1b\[[?0-9;]*[A-Za-z])?", rb"\1", terminal.raw), "colour in spite of NO_COLOR"
assert max(terminal.raw) < 128

# A trainer that is killed, and another one that takes the file's name.
terminal = Terminal("long.h5")
terminal.sees("recording")
process.kill()
process.wait()
old = time.time() - 3600
os.utime("long.h5", (old, old))
dead = Terminal("long.h5")
dead.sees("no new steps since 60 min; the trainer may be dead")
os.remove("long.h5")
terminal.sees("the file is gone")
process = train("long.h5", 30, 20, "close")
terminal.sees("step 29 ")
assert terminal.end() == 0
dead.sees("step 29 ")
assert dead.end() == 0
process.wait()

# Nobody comes.
terminal = Terminal("never.h5", "--timeout", "1")
assert terminal.end(10) == 2
assert b"gave up" in terminal.process.stderr.read()

# No terminal: lines, and no control sequence. A directory that fills while it is watched.
watch = subprocess.Popen([gradhealth, "watch", "gan", "--interval", "0.1"], stdout=subprocess.PIPE, text=True)
time.sleep(0.3)
os.mkdir("gan")
processes = [train("gan/D.h5", 40, 20, "close"), train("gan/G.h5", 60, 20, "close", 20)]
output = watch.communicate(timeout=60)[0]
assert watch.returncode == 0
assert "\x1b" not in output
assert "gan/D.h5  finished" in output and "gan/G.h5  finished: UNHEALTHY" in output, output
assert "ERROR  since step 20, G: fc0.weight" in output, output
print("watched")
