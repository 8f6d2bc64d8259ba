//! A server as a child process that dies with the object, and with the test process: `setpriv` ties its life to that of
//! the thread that started it, and that thread does nothing but wait.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Lines at the end of a log that say why a server did not start.
const LAST_LINES: usize = 5;

/// A running server.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl ServerProcess {
    /// Starts the program and waits until a line of its log says that it listens, which `ready` tells. Returns what that
    /// made of the line; the last lines of the log if it ended without such a line.
    pub(crate) fn start<T: Send + 'static>(
        command: &[&str],
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T), String> {
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL"]).args(command).env("OTEL_TRACES_EXPORTER", "none");
        let (stop, stopped) = channel();
        let (listening, answer) = channel();
        let keeper = std::thread::spawn(move || keep(server, ready, listening, &stopped));
        let started = Self { stop: Some(stop), keeper: Some(keeper) };
        let answer = answer.recv().unwrap_or_else(|_| Err("`setpriv` cannot be started".to_owned()));
        answer.map(|answer| (started, answer))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Runs the server until told to stop.
fn keep<T: Send + 'static>(
    mut server: Command,
    ready: impl Fn(&str) -> Option<T> + Send + 'static,
    listening: Sender<Result<T, String>>,
    stopped: &Receiver<()>,
) {
    let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return };
    let drain = announce(&mut child, ready, listening);
    let _ = stopped.recv();
    let _ = child.kill();
    let _ = child.wait();
    let _ = drain.join();
}

/// Reads the log for the line, and on, so that the server never waits for a full pipe.
fn announce<T: Send + 'static>(
    child: &mut Child,
    ready: impl Fn(&str) -> Option<T> + Send + 'static,
    listening: Sender<Result<T, String>>,
) -> JoinHandle<()> {
    let log = child.stderr.take().expect("the log is piped");
    std::thread::spawn(move || {
        let mut listening = Some(listening);
        let mut last = VecDeque::new();
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if let Some(answer) = ready(&line)
                && let Some(listening) = listening.take()
            {
                let _ = listening.send(Ok(answer));
            }
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line);
        }
        if let Some(listening) = listening {
            let _ = listening.send(Err(last.make_contiguous().join("\n")));
        }
    })
}
