//! longwire as a process of its own, for signals and for what one process leaves to the next.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use fs_err as fs;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::within;

/// A running longwire. Its records go where its file says. Its messages are JSON.
pub struct Process {
    id: u32,
    messages: mpsc::UnboundedReceiver<Value>,
    /// Every message so far.
    said: Vec<Value>,
    ended: oneshot::Receiver<Option<i32>>,
}

impl Process {
    /// Runs the `proxy.yaml` of this folder.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// [`Self::start`] with these variables in the environment.
    pub fn start_with(folder: &Path, variables: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
        command.args(["run", "-c", "proxy.yaml"]).envs(variables.iter().map(|(name, value)| (name, value)));
        Self::spawn(command, folder)
    }

    /// Runs the `proxy.yaml` of this folder with `--watch`, and waits until it serves and watches its files.
    pub async fn watching(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
        command.args(["run", "-c", "proxy.yaml", "--watch"]);
        let mut process = Self::spawn(command, folder);
        process.says("watching the file").await;
        process
    }

    fn spawn(mut command: Command, folder: &Path) -> Self {
        let mut child = command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (id, stderr) = (child.id(), child.stderr.take().unwrap());
        let (sender, messages) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A message from before the start of the log is no JSON.
                let message = serde_json::from_str(&line).unwrap_or_else(|_| serde_json::json!({ "message": line }));
                let _ = sender.send(message);
            }
            let _ = end.send(code_of(&mut child));
        });
        Self { id, messages, said: Vec::new(), ended }
    }

    /// [`Self::start`]; then waits until it serves. Returns also the address of its first listener.
    pub async fn serving(folder: &Path) -> (Self, SocketAddr) {
        Self::serving_with(folder, &[]).await
    }

    /// [`Self::serving`] with these variables in the environment.
    pub async fn serving_with(folder: &Path, variables: &[(&str, PathBuf)]) -> (Self, SocketAddr) {
        let mut process = Self::start_with(folder, variables);
        let address = process.says("listening").await["address"].as_str().unwrap().parse().unwrap();
        process.says("ready").await;
        (process, address)
    }

    /// The first message that contains these words, of all messages so far and to come.
    pub async fn says(&mut self, words: &str) -> Value {
        let has = |message: &Value| message["message"].as_str().is_some_and(|text| text.contains(words));
        loop {
            if let Some(found) = self.said.iter().find(|message| has(message)) {
                return found.clone();
            }
            match within(words, self.messages.recv()).await {
                Some(message) => self.said.push(message),
                None => panic!("it ended without saying {words:?}: {:#?}", self.said),
            }
        }
    }

    /// The first message with these words in which a field has this part, of all messages so far and to come.
    pub async fn tells(&mut self, words: &str, field: &str, part: &str) -> Value {
        let is_it = |message: &Value| {
            message["message"] == words && message[field].as_str().is_some_and(|value| value.contains(part))
        };
        loop {
            if let Some(found) = self.said.iter().find(|message| is_it(message)) {
                return found.clone();
            }
            match within(part, self.messages.recv()).await {
                Some(message) => self.said.push(message),
                None => panic!("it ended without saying {words:?} of {part:?}: {:#?}", self.said),
            }
        }
    }

    /// How often its threads have gone to sleep so far.
    pub fn sleeps(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).unwrap();
        let of_thread = |status: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse().unwrap()
        };
        // A thread that has ended meanwhile does not count.
        let statuses = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
        statuses.map(|status| of_thread(&status)).sum()
    }

    /// Sends a signal: TERM, HUP or USR1.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id.to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Lets the process open no further descriptor, or as many as before.
    pub fn starve(&self, starves: bool) {
        let most = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: if starves { Some(0) } else { most }, maximum: most };
        let id = Pid::from_raw(self.id.try_into().unwrap());
        prlimit(id, Resource::Nofile, limit).unwrap();
    }

    /// Waits for the end of the process.
    pub async fn exit_code(&mut self) -> Option<i32> {
        within("the process to end", &mut self.ended).await.unwrap()
    }

    /// Sends SIGTERM, waits for the end, and returns every message.
    pub async fn messages(mut self) -> Vec<Value> {
        self.signal("TERM");
        while let Some(message) = within("the last message", self.messages.recv()).await {
            self.said.push(message);
        }
        std::mem::take(&mut self.said)
    }

    /// Sends SIGTERM, and waits for the end.
    pub async fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.exit_code().await, Some(0), "{:#?}", self.said);
    }
}

fn code_of(child: &mut Child) -> Option<i32> {
    child.wait().ok()?.code()
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            let _ = Command::new("kill").args(["-s", "KILL", &self.id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}
