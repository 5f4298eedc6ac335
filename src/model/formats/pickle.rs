//! Python's pickles as data: what a program would build from one, without building it.
//!
//! A pickle is a program for a small stack machine (`machine`), which can ask for a name to be imported and for something to be called.
//! Here the first leaves the name and the second leaves name and arguments, so that nothing is ever imported or called, whatever the
//! pickle asks for.
//!
//! Values lie in one list and name each other by their place. An opcode adds at most one, so that a pickle takes memory in proportion
//! to its length, however often it mentions a value.

use super::machine::Machine;

/// Pickles are read up to this length: a table of tensors is far shorter, for the values lie beside it.
const LONGEST: usize = 16 << 20;

/// The place of a value in its pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub(super) u32);

/// What a pickle would build.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An imported name: `torch.FloatStorage`.
    Global(String),
    /// What a call would give: callable and arguments.
    Call(Id, Id),
    /// What lies outside the pickle under this name.
    Outside(Id),
    /// A value in which no tensor can be: nothing, truth, fraction, bytes, set.
    Other,
}

/// A pickle that was read to its end.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 5.
    ///
    /// # Errors
    /// When the bytes are no such pickle; what is wrong, and where.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > LONGEST {
            return Err(format!("a pickle of {} bytes is no table of tensors", bytes.len()));
        }
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        Ok(Self { values: machine.values, root })
    }

    /// Returns the value that the pickle stands for.
    pub fn root(&self) -> Id {
        self.root
    }

    /// Returns a value.
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// Returns a number that counts something.
    pub fn count(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Returns a text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns an imported name.
    pub fn global(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    /// Returns the items of a tuple or a list.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pickle_would_build_is_read() {
        // python3 -c "import pickle, sys; sys.stdout.buffer.write(pickle.dumps({'a': [1, -2, 70000, 1 << 40], 'b': (True, None, 1.5)}, 2))"
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01e\
                      X\x01\x00\x00\x00bq\x03\x88NG?\xf8\x00\x00\x00\x00\x00\x00\x87q\x04u.";
        let pickle = Pickle::read(bytes).unwrap();
        let Value::Dict(pairs) = pickle.get(pickle.root()) else { panic!("no dictionary") };
        assert_eq!(pickle.text(pairs[0].0), Some("a"));
        let numbers: Vec<&Value> = pickle.items(pairs[0].1).unwrap().iter().map(|id| pickle.get(*id)).collect();
        assert_eq!(numbers, [&Value::Int(1), &Value::Int(-2), &Value::Int(70000), &Value::Int(1 << 40)]);
        assert_eq!(pickle.items(pairs[1].1).map(<[Id]>::len), Some(3));
        for end in 0..bytes.len() {
            assert!(Pickle::read(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_call_is_noted_and_not_made() {
        // class Evil: __reduce__ = lambda self: (os.system, ("touch /tmp/evil",)); pickle.dumps(Evil(), 4)
        let bytes = b"\x80\x04\x95\x2c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x0ftouch /tmp/evil\x94\x85\x94R\x94.";
        let pickle = Pickle::read(bytes).unwrap();
        let Value::Call(callable, arguments) = pickle.get(pickle.root()) else { panic!("no call") };
        assert_eq!(pickle.global(*callable), Some("posix.system"));
        assert_eq!(pickle.text(pickle.items(*arguments).unwrap()[0]), Some("touch /tmp/evil"));
    }

    #[test]
    fn a_pickle_that_doubles_itself_stays_small() {
        // A tuple of a value twice, remembered, and again: 2^200 leaves for a reader that copies.
        let mut bytes = b"\x80\x02K\x01q\x00".to_vec();
        for _ in 0..200 {
            bytes.extend(b"h\x00h\x00\x86q\x00");
        }
        bytes.push(b'.');
        assert!(Pickle::read(&bytes).unwrap().values.len() < 300);
    }

    #[test]
    fn a_machine_that_is_led_astray_says_where() {
        for (bytes, wrong) in [
            (&b"\x80\x02."[..], "at byte 2 of the pickle: the stack is empty"),
            (b"\x80\x07.", "at byte 0 of the pickle: protocol 7 is not read"),
            (b"(K\x01(R.", "at byte 4 of the pickle: the stack is empty"),
            (b"h\x05.", "at byte 0 of the pickle: nothing was remembered as 5"),
            (b"}(K\x01u.", "at byte 4 of the pickle: a key without a value"),
            (b"X\xff\xff\xff\xffab", "at byte 0 of the pickle: 4294967295 bytes are asked for and 2 are left"),
            (b"t.", "at byte 0 of the pickle: there is no mark"),
            (b"ios\nsystem\n.", "at byte 0 of the pickle: opcode 0x69 is not read"),
        ] {
            assert_eq!(Pickle::read(bytes).unwrap_err(), wrong);
        }
    }
}
