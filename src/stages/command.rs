//! `Command`: any program, run as argv in a scratch folder -> the files it was said to make.
//!
//! The scratch folder is where outputs are expected, so that a program which writes to where it stands needs no path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{FILE, FOLDER, LOG};
use crate::diagnostic::{Context, Failure, count, nearest};
use crate::params::{Aside, DataPath, Ref};
use crate::stage::{Complaint, Cores, Device, Input, Io, Kind, Needs, Output, Source, Stage};

/// What a program makes under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    File,
    /// A folder, there and empty when the program starts.
    Folder,
}

crate::params! {
    /// A program and what it reads and makes. No shell stands between: what is written is what it gets.
    pub struct Command {
        /// Program and arguments. `{name}` stands for the path of the input, file or output of that name; `{{` for a brace.
        pub run: Vec<String> = Vec::new(),
        /// Outputs of other nodes, by the name used in `run`.
        pub inputs: BTreeMap<String, Ref> = BTreeMap::new(),
        /// Files and folders outside, by the name used in `run`: data, scripts, the program itself.
        pub files: BTreeMap<String, DataPath> = BTreeMap::new(),
        /// What it makes, by the name used in `run` and by readers: `"model": File`.
        pub outputs: BTreeMap<String, Form> = BTreeMap::new(),
        /// Environment variables whose values count. It is given these, PATH, HOME, USER, TMPDIR and LANG, and those of `pass`.
        pub env: Vec<String> = Vec::new(),
        /// Environment variables that it is given though they do not count: where to log, how many threads to use.
        pub pass: Aside<Vec<String>> = Aside(Vec::new()),
        /// Program and arguments that print a version, which then counts: `["python3", "--version"]`.
        pub version: Vec<String> = Vec::new(),
        /// How many cores it keeps busy: nodes that want several wait for one another.
        pub cores: Aside<usize> = Aside(1),
        /// How many GPUs it needs for itself. Their numbers stand in CUDA_VISIBLE_DEVICES.
        pub gpus: Aside<usize> = Aside(0),
        /// Whether what it makes is also laid out as plain files, in `out/PIPELINE/NODE` of the cache.
        pub show: Aside<bool> = Aside(false),
    }
}

/// Variables that every program is given though they do not count: where to find programs, a home and a place for scratch.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "USER", "TMPDIR", "LANG"];

/// The output that keeps what a program prints.
const PRINTED: &str = "log";

/// How many of the last lines a failing program printed are shown.
const TAIL: usize = 20;

/// A stretch of an argument.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Takes an argument apart; says what is wrong with it.
fn pieces(argument: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = argument;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, brace) = rest.split_at(at);
        found.push(Piece::Text(text));
        if brace.starts_with("{{") || brace.starts_with("}}") {
            found.push(Piece::Text(&brace[..1]));
            rest = &brace[2..];
        } else if let Some(end) = brace.find('}').filter(|_| brace.starts_with('{')) {
            found.push(Piece::Name(&brace[1..end]));
            rest = &brace[end + 1..];
        } else {
            return Err(format!("must not hold a lone brace in `{argument}`: write it twice, or close it"));
        }
    }
    found.push(Piece::Text(rest));
    found.retain(|piece| *piece != Piece::Text(""));
    Ok(found)
}

impl Command {
    fn names(&self) -> Vec<&str> {
        self.inputs.keys().chain(self.files.keys()).chain(self.outputs.keys()).map(String::as_str).collect()
    }

    /// Where the thing of this name lies during the run.
    fn place(&self, io: &Io, name: &str) -> Result<PathBuf, Failure> {
        if self.outputs.contains_key(name) {
            return Ok(io.output(name));
        }
        if self.inputs.contains_key(name) {
            return io.input(name).map(Path::to_path_buf);
        }
        Ok(io.source(name)?.root.clone())
    }

    fn argument(&self, io: &Io, written: &str) -> Result<std::ffi::OsString, Failure> {
        let mut argument = std::ffi::OsString::new();
        for piece in pieces(written).map_err(Failure::new)? {
            match piece {
                Piece::Text(text) => argument.push(text),
                Piece::Name(name) => {
                    let place = self.place(io, name)?;
                    argument.push(std::path::absolute(&place).doing(|| format!("failed to find `{}`", place.display()))?);
                }
            }
        }
        Ok(argument)
    }
}

impl Stage for Command {
    fn kind(&self) -> &'static str {
        "Command"
    }

    fn version(&self) -> u32 {
        1
    }

    fn params(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn check(&self) -> Vec<Complaint> {
        let complaint = |field: &str, message: String| Complaint { field: field.to_string(), message };
        let mut complaints = Vec::new();
        if self.run.first().is_none_or(String::is_empty) {
            complaints.push(complaint("run", "must name a program".into()));
        }
        let names = self.names();
        for (i, argument) in self.run.iter().enumerate() {
            let field = format!("run.{i}");
            match pieces(argument) {
                Err(wrong) => complaints.push(complaint(&field, wrong)),
                Ok(pieces) => complaints.extend(pieces.into_iter().filter_map(|piece| match piece {
                    Piece::Name(name) if !names.contains(&name) => {
                        let meant = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!(": did you mean `{{{n}}}`?"));
                        Some(complaint(&field, format!("names `{{{name}}}`, which is no input, file or output{meant}")))
                    }
                    _ => None,
                })),
            }
        }
        if self.cores.0 == 0 {
            complaints.push(complaint("cores", "must be at least 1, got 0".into()));
        }
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                complaints.push(complaint(
                    "run",
                    format!("cannot tell which `{name}` is meant: two of inputs, files and outputs have that name"),
                ));
            }
        }
        for name in self.outputs.keys() {
            let plain = !name.is_empty() && name != PRINTED && !name.starts_with('.') && !name.contains(['/', '\\']);
            if !plain {
                let message =
                    format!("cannot hold `{name}`: expected a name without `/` that does not begin with `.` and is not `{PRINTED}`");
                complaints.push(complaint("outputs", message));
            }
        }
        complaints
    }

    fn environment(&self) -> Vec<String> {
        self.env.clone()
    }

    fn version_probe(&self) -> Option<Vec<String>> {
        (!self.version.is_empty()).then(|| self.version.clone())
    }

    fn needs(&self, _: &Device) -> Needs {
        Needs { cores: Cores::Some(self.cores.0), gpus: self.gpus.0 }
    }

    fn looks_upstream(&self) -> bool {
        false
    }

    fn shown(&self) -> bool {
        self.show.0
    }

    fn inputs(&self) -> Vec<Input> {
        self.inputs.iter().map(|(name, reference)| Input::required(name, reference, Kind::ANY)).collect()
    }

    fn sources(&self) -> Vec<Source> {
        let about = "a file or folder that the command reads";
        self.files.iter().map(|(name, path)| Source { role: name.clone(), path: path.clone(), about: about.into() }).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        let made = self.outputs.iter().map(|(name, form)| match form {
            Form::File => Output::file(name.clone(), FILE),
            Form::Folder => Output::folder(name.clone(), FOLDER),
        });
        made.chain([Output::file(PRINTED, LOG)]).collect()
    }

    fn run(&self, io: &Io) -> Result<(), Failure> {
        let argv = self.run.iter().map(|argument| self.argument(io, argument)).collect::<Result<Vec<_>, _>>()?;
        let program = Path::new(&argv[0]).display().to_string();
        let what = || format!("failed to start `{program}`");
        let printed = File::create(io.output(PRINTED)).doing(what)?;
        let given = |name: &str| PASSED_ON.contains(&name) || [&self.env, &self.pass.0].iter().any(|names| names.iter().any(|n| n == name));
        let mut command = Program::new(found(&argv[0], io.environment()));
        command.args(&argv[1..]).current_dir(io.scratch()).env_clear();
        command.envs(io.environment().iter().filter(|(name, _)| given(name)));
        if self.gpus.0 > 0 {
            let numbers: Vec<String> = io.gpus().iter().map(ToString::to_string).collect();
            command.env("CUDA_VISIBLE_DEVICES", numbers.join(","));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(printed.try_clone().doing(what)?)
            .stderr(printed)
            .spawn()
            .doing(what)
            .map_err(|failure| failure.help("is the program installed, and on the PATH?"))?;
        let status = loop {
            match wait_a_little(&mut child).doing(|| format!("failed to wait for `{program}`"))? {
                Some(status) => break status,
                None if io.monitor().interrupted() => {
                    // It may have ended by itself meanwhile; either way nothing of it is kept.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Failure::interrupted());
                }
                None => {}
            }
        };
        if !status.success() {
            return Err(self.broken(io, &program, status));
        }
        match self.outputs.keys().find(|name| !io.output(name).exists()) {
            Some(name) => Err(Failure::new(format!("`{program}` ended well, but did not make its output `{name}`"))
                .help(format!("its place is given where `run` says `{{{name}}}`"))),
            None => Ok(()),
        }
    }
}

impl Command {
    /// What a failing program leaves: how it ended, and the last it said.
    fn broken(&self, io: &Io, program: &str, status: ExitStatus) -> Failure {
        let text = std::fs::read(io.output(PRINTED)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        let failure = match tail {
            [] => return Failure::new(format!("`{program}` ended with {status}, and printed nothing")),
            _ => Failure::new(format!("`{program}` ended with {status}; the last it printed:\n  {}", tail.join("\n  "))),
        };
        // The rest is kept until the node is done; where that fails, the tail must do.
        let kept = io.state().ok().map(|folder| folder.join(PRINTED));
        match kept.filter(|place| tail.len() < lines.len() && std::fs::write(place, text.as_bytes()).is_ok()) {
            Some(place) => failure.help(format!("all {} lie in `{}`", count(lines.len(), "line"), place.display())),
            None => failure,
        }
    }
}

/// Returns where a program lies, so that the system need not copy this process to look for it.
fn found(program: &OsStr, environment: &BTreeMap<String, String>) -> PathBuf {
    let path = environment.get("PATH").map_or("", String::as_str);
    let named_only = Path::new(program).components().count() == 1;
    let mut places = std::env::split_paths(path).map(|folder| folder.join(program)).filter(|_| named_only);
    places.find(|place| place.is_file()).unwrap_or_else(|| program.into())
}

/// Waits for the program a tenth of a second at most.
fn wait_a_little(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    const WAIT: Duration = Duration::from_millis(100);
    #[cfg(target_os = "linux")]
    if let Ok(pid) = rustix::process::pidfd_open(rustix::process::Pid::from_child(child), rustix::process::PidfdFlags::empty()) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let wait = Timespec { tv_sec: 0, tv_nsec: WAIT.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pid, PollFlags::IN)], Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => return child.try_wait(),
            Err(error) => return Err(error.into()),
        }
    }
    // Elsewhere in short looks, since many are over in a moment.
    let mut pause = Duration::from_micros(200);
    while pause < WAIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
    child.try_wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_name_things_and_doubled_ones_are_braces() {
        use Piece::{Name, Text};
        assert_eq!(pieces("--in={data}/x"), Ok(vec![Text("--in="), Name("data"), Text("/x")]));
        assert_eq!(pieces("{{{a}}}"), Ok(vec![Text("{"), Name("a"), Text("}")]));
        assert!(pieces("a } b").is_err() && pieces("{a").is_err());
        assert_eq!(pieces(""), Ok(vec![]));
    }

    #[test]
    fn a_command_that_names_what_it_does_not_have_is_refused() {
        let said = |text: &str| -> Vec<String> {
            let command: Command = ron::from_str(text).unwrap();
            command.check().into_iter().map(|c| format!("`{}` {}", c.field, c.message)).collect()
        };
        assert_eq!(said("()"), ["`run` must name a program"]);
        assert_eq!(
            said(r#"(run: ["sh", "{modle}"], outputs: {"model": File})"#),
            ["`run.1` names `{modle}`, which is no input, file or output: did you mean `{model}`?"]
        );
        assert_eq!(
            said(r#"(run: ["sh"], files: {"a": "x"}, outputs: {"a": File, "log": File})"#),
            [
                "`run` cannot tell which `a` is meant: two of inputs, files and outputs have that name",
                "`outputs` cannot hold `log`: expected a name without `/` that does not begin with `.` and is not `log`"
            ]
        );
    }
}
