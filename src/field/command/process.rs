//! A program that is asked and answers in lines, over its standard input and output.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that are read as one line: a program that never ends its line must not fill the memory.
const LINE: u64 = 1 << 16;
/// Lines of its standard error that are kept, and characters of each.
const WORDS: usize = 20;
const WORDS_SHOWN: usize = 400;
/// The time that a program has to end by itself once it is asked no more.
const GRACE: Duration = Duration::from_secs(2);
/// The time that the status and the last words of a program that ended have to arrive.
const ECHO: Duration = Duration::from_millis(500);

/// Why there is no answer.
pub(super) enum Mute {
    /// The program ended, with this status where it is known, or closed its output.
    Ended(Option<ExitStatus>),
    /// It took longer than it may.
    Silent,
}

/// A program that runs. Dropped, it is told to end by the end of its input, and killed if it does not.
pub(super) struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<Vec<u8>>,
    words: Arc<Mutex<VecDeque<String>>>,
    words_reader: JoinHandle<()>,
    /// The time that it has to end by itself.
    grace: Duration,
    /// Dropped last, it lets the thread end that started the program.
    _over: Sender<()>,
}

impl Process {
    /// Starts `program` with `arguments`.
    pub(super) fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        bind(&mut command);
        let (started, child) = sync_channel(1);
        let (lines, answers) = sync_channel(1);
        let (over, is_over) = channel();
        let work = move || start_and_read(command, &started, lines, &is_over);
        thread::Builder::new().name("answers".into()).spawn(work)?;
        let mut child = child.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        let (questions, stderr) = (child.stdin.take(), child.stderr.take());
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let kept = words.clone();
        let listen = move || stderr.into_iter().for_each(|stderr| each_line(stderr, |line| keep(&kept, &line)));
        let words_reader = thread::Builder::new().name("last words".into()).spawn(listen)?;
        Ok(Self { child, questions, answers, words, words_reader, grace: GRACE, _over: over })
    }

    /// Writes `question` on a line of its own.
    pub(super) fn ask(&mut self, question: &str) {
        let line = format!("{question}\n"); // in one piece, which wakes the program once
        // A program that reads no more has ended, or will be found silent; what it said before counts.
        let _ = self.questions.iter_mut().try_for_each(|input| input.write_all(line.as_bytes()));
    }

    /// The next line that the program writes, at most `limit` from now.
    pub(super) fn answer(&mut self, limit: Duration) -> Result<Vec<u8>, Mute> {
        self.answers.recv_timeout(limit).map_err(|why| match why {
            RecvTimeoutError::Timeout => {
                self.grace = Duration::ZERO; // it does not listen
                Mute::Silent
            }
            RecvTimeoutError::Disconnected => Mute::Ended(within(ECHO, || self.child.try_wait().ok().flatten())),
        })
    }

    /// The last lines of its standard error.
    pub(super) fn last_words(&mut self) -> Vec<String> {
        if let Ok(Some(_)) = self.child.try_wait() {
            within(ECHO, || self.words_reader.is_finished().then_some(()));
        }
        self.words.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.questions = None;
        if within(self.grace, || self.child.try_wait().ok().flatten()).is_none() {
            // SAFETY: a bare system call; the group is that of the program, which is not yet waited for.
            #[cfg(unix)]
            unsafe {
                libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a line of bytes says, in at most `most` characters that a terminal can show.
pub(super) fn readable(line: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Ctrl-C in a terminal does not reach the program, so that a step is completed; it ends with this process, even one that is killed.
#[cfg(unix)]
fn bind(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only a bare system call is made.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

#[cfg(not(unix))]
fn bind(_: &mut Command) {}

/// Starts the program and passes on its lines. Linux ends a program with the thread that started it, so this one waits.
fn start_and_read(
    mut command: Command,
    started: &SyncSender<io::Result<Child>>,
    lines: SyncSender<Vec<u8>>,
    is_over: &Receiver<()>,
) {
    let mut child = command.spawn();
    let stdout = child.as_mut().ok().and_then(|child| child.stdout.take());
    if started.send(child).is_err() {
        return;
    }
    if let Some(stdout) = stdout {
        // What nobody waits for is still read, so that the program can end.
        each_line(stdout, |line| drop(lines.send(line)));
        drop(lines);
        let _ = is_over.recv();
    }
}

/// Tells of each line of `stream` until it ends.
fn each_line(stream: impl Read, mut tell: impl FnMut(Vec<u8>)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(1..) => tell(line),
            Ok(0) | Err(_) => return,
        }
    }
}

/// Keeps a line of standard error.
fn keep(words: &Mutex<VecDeque<String>>, line: &[u8]) {
    let line = readable(line, WORDS_SHOWN);
    tracing::info!("{line}");
    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
    words.push_back(line);
    if words.len() > WORDS {
        words.pop_front();
    }
}

/// What `done` gives as soon as it gives anything, within `time`.
fn within<T>(time: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = done();
        if found.is_some() || begun.elapsed() > time {
            return found;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
