//! A child process that answers requests over two pipes.

use super::{apart, kill_group};
use crate::interrupt::{self, Stopped};
use anyhow::{Context, Result, anyhow, bail};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel,
};
use std::time::{Duration, Instant};

/// Interval at which a wait checks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Time limit of a pending answer after Ctrl-C. It suffices for a sample in flight and the output that verifies it.
const GRACE: Duration = Duration::from_millis(300);

/// Time limit for the exit status of a program that closed its pipe.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A program that answers requests, one at a time. It is ended with this value or with this process, and as soon as it
/// breaks the protocol.
pub struct Helper<R> {
    child: Child,
    name: String,
    /// Channel to the thread that writes. A program that doesn't read would block a direct write.
    to: Sender<Vec<Vec<u8>>>,
    from: Receiver<Received<R>>,
    /// Exit status, once the program was ended.
    ended: Option<Option<ExitStatus>>,
}

/// Output of a program.
enum Received<R> {
    Answer(R),
    /// The program closed a pipe.
    Closed,
    /// The output isn't an answer.
    Broken(io::Error),
}

impl<R: Send + 'static> Helper<R> {
    /// Starts a program. `read` reads one answer from its standard output; it returns none at the end of the output.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn start(
        command: &mut Command,
        name: String,
        read: impl FnMut(&mut BufReader<ChildStdout>) -> io::Result<Option<R>> + Send + 'static,
    ) -> Result<Helper<R>> {
        apart(command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let child = command.spawn();
        let mut child = child.with_context(|| format!("{name} can't be started"))?;
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        // Capacity 1 bounds the memory if a program writes without end.
        let (events, from) = sync_channel(1);
        let (to, requests) = channel();
        let closed = events.clone();
        std::thread::spawn(move || write_all(input, &requests, &closed));
        std::thread::spawn(move || read_all(output, read, &events));
        Ok(Helper {
            child,
            name,
            to,
            from,
            ended: None,
        })
    }

    /// Name for error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while the program accepts requests.
    pub fn alive(&self) -> bool {
        self.ended.is_none()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Those of [`Helper::say`] and [`Helper::reply`].
    pub fn ask(&mut self, request: Vec<Vec<u8>>, patience: Duration) -> Result<R> {
        self.say(request)?;
        self.reply(patience)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the program has ended, or has answered without a request.
    pub fn say(&mut self, request: Vec<Vec<u8>>) -> Result<()> {
        if !self.alive() {
            return Err(self.gone());
        }
        match self.from.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Received::Answer(_)) => {
                self.end();
                bail!("{} says something without being asked", self.name);
            }
            Ok(event) => return self.take(event).map(|_| ()),
            Err(TryRecvError::Disconnected) => return Err(self.gone()),
        }
        self.to.send(request).map_err(|_| self.gone())
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// When no valid answer comes in time: the program is then ended. [`Stopped`] after Ctrl-C.
    pub fn reply(&mut self, patience: Duration) -> Result<R> {
        let start = Instant::now();
        let mut until = start + patience;
        let mut asked_to_stop = false;
        let mut exited = false;
        loop {
            if !asked_to_stop && interrupt::requested() {
                asked_to_stop = true;
                until = until.min(Instant::now() + GRACE);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.from.recv_timeout(left.min(LOOK)) {
                Ok(event) => return self.take(event),
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
                // Its children may hold the pipe open. Read its last output before the exit status counts.
                Err(RecvTimeoutError::Timeout) if exited => return Err(self.gone()),
                Err(RecvTimeoutError::Timeout) if left > LOOK => {
                    exited = matches!(self.child.try_wait(), Ok(Some(_)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.end();
                    if asked_to_stop {
                        return Err(Stopped.into());
                    }
                    bail!(
                        "{} said nothing for {:.0} s",
                        self.name,
                        patience.as_secs_f64()
                    )
                }
            }
        }
    }

    fn take(&mut self, event: Received<R>) -> Result<R> {
        match event {
            Received::Answer(answer) => Ok(answer),
            Received::Closed => Err(self.gone()),
            Received::Broken(error) => {
                Err(self.wrong(&format!("says something that is no answer: {error}")))
            }
        }
    }

    /// Ends a program after an invalid answer, and returns the error.
    pub fn wrong(&mut self, what: &str) -> anyhow::Error {
        self.end();
        anyhow!("{} {}", self.name, shortened(what))
    }

    /// Ends a program that closed a pipe, and returns an error with its exit status.
    fn gone(&mut self) -> anyhow::Error {
        let start = Instant::now();
        while self.alive() && start.elapsed() < LAST_WORDS {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(status)) => self.ended = Some(Some(status)),
                Err(_) => break,
            }
        }
        match self.ended {
            Some(Some(status)) => {
                // Its children may still run.
                kill_group(self.child.id());
                anyhow!("{} ended early ({status})", self.name)
            }
            Some(None) => anyhow!("{} was ended", self.name),
            None => {
                self.end();
                anyhow!("{} closed its pipe", self.name)
            }
        }
    }

    /// Ends the program and all its children.
    pub fn end(&mut self) {
        if self.alive() {
            kill_group(self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = Some(None);
        }
    }

    /// Stops the program's process group, or continues it.
    pub fn pause(&self, pause: bool) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            let signal = if pause { Signal::STOP } else { Signal::CONT };
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group.filter(|_| self.alive()) {
                // If the process has ended, the next request reports it.
                let _ = kill_process_group(group, signal);
            }
        }
        #[cfg(not(unix))]
        let _ = pause;
    }
}

impl<R> Drop for Helper<R> {
    fn drop(&mut self) {
        if self.ended.is_none() {
            kill_group(self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn write_all<R>(
    mut to: ChildStdin,
    requests: &Receiver<Vec<Vec<u8>>>,
    events: &SyncSender<Received<R>>,
) {
    for request in requests {
        let sent = request.iter().try_for_each(|part| to.write_all(part));
        if sent.and_then(|()| to.flush()).is_err() {
            let _ = events.send(Received::Closed);
            return;
        }
    }
}

fn read_all<R>(
    mut from: BufReader<ChildStdout>,
    mut read: impl FnMut(&mut BufReader<ChildStdout>) -> io::Result<Option<R>>,
    events: &SyncSender<Received<R>>,
) {
    loop {
        let event = match read(&mut from) {
            Ok(Some(answer)) => Received::Answer(answer),
            Ok(None) => Received::Closed,
            Err(error) => Received::Broken(error),
        };
        let last = !matches!(event, Received::Answer(_));
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// Reads a line of at most `limit` bytes, its newline included; none at the end of the input.
///
/// # Errors
/// When the line is longer, or the input ends within it.
pub fn line(from: &mut impl BufRead, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    io::Read::take(&mut *from, limit as u64).read_until(b'\n', &mut line)?;
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() == limit => wrong(format!("a line of more than {limit} bytes")),
        Some(_) => wrong("a line that is cut short".into()),
    }
}

/// Untrusted text for an error message: on one line, at most 200 characters.
pub fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(200).map(plain).collect();
    if text.chars().nth(200).is_some() {
        short.push_str("...");
    }
    short
}

/// Time after which a program counts as hung. A fixed minute covers loading of libraries and compilation or tuning of
/// kernels. Each 10^8 operations or bytes add a second, far more than any core needs. The variable `CONVROOF_PATIENCE`
/// replaces the minute, in seconds.
pub fn patience(work: f64) -> Duration {
    let set = std::env::var("CONVROOF_PATIENCE").ok();
    let set = set.and_then(|s| s.parse::<f64>().ok());
    let base = set.filter(|s| *s > 0.0 && *s < 1e6).unwrap_or(60.0);
    let work = if work.is_nan() { 0.0 } else { work };
    Duration::from_secs_f64(base + (work / 1e8).clamp(0.0, 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let mut from = &b"one\ntwo\nthree"[..];
        assert_eq!(line(&mut from, 4).expect("a line"), Some(b"one\n".to_vec()));
        let error = line(&mut from, 3).expect_err("too long").to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
        let mut from = &b"three"[..];
        let error = line(&mut from, 100).expect_err("cut").to_string();
        assert!(error.contains("cut short"), "{error}");
        assert_eq!(line(&mut &b""[..], 100).expect("the end"), None);
    }

    #[test]
    fn words_of_strangers_are_one_short_line() {
        let long = "a\n\u{1b}[2Jb".repeat(1000);
        let short = shortened(&long);
        assert!(short.chars().count() <= 203 && !short.contains(char::is_control));
        assert_eq!(shortened("as it is"), "as it is");
    }

    #[test]
    fn patience_grows_with_the_work() {
        assert!(patience(1e12) >= Duration::from_secs(10_000));
        assert!(patience(f64::NAN) < Duration::from_secs(2_000_000));
        assert!(patience(f64::INFINITY) < Duration::from_secs(3_000_000));
    }
}
