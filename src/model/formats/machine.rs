//! The stack machine that a pickle is a program for (opcodes: CPython's `Lib/pickletools.py`), without its ways out.
//!
//! It holds values, a stack of their places, marks on the stack, and a memo by number. Opcodes that import or call only leave a note.

use std::collections::HashMap;

use super::pickle::{Id, Value};

pub struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Every value that was made, in order.
    pub values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

const EMPTY: &str = "the stack is empty";

impl<'a> Machine<'a> {
    /// Puts the machine before its first opcode.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Runs to the end; returns the value that the pickle stands for.
    ///
    /// # Errors
    /// When an opcode is none, or cannot be done: which byte, and why.
    pub fn run(&mut self) -> Result<Id, String> {
        loop {
            let place = self.at;
            if let Some(root) = self.step().map_err(|wrong| format!("at byte {place} of the pickle: {wrong}"))? {
                return Ok(root);
            }
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..n).ok_or_else(|| format!("{n} bytes are asked for and {} are left", rest.len()))?;
        self.at += n;
        Ok(taken)
    }

    /// Reads an unsigned number of `n` bytes, at most eight.
    fn number(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n)?.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    /// Reads as many bytes as a number of `n` bytes says.
    fn counted(&mut self, n: usize) -> Result<&'a [u8], String> {
        let len = self.number(n)?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a line without an end")?;
        self.at += end + 1;
        utf8(&rest[..end])
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
    }

    /// Takes the topmost value, which must lie above the last mark.
    fn pop(&mut self) -> Result<Id, String> {
        match self.stack.len() > self.marks.last().copied().unwrap_or(0) {
            true => self.stack.pop().ok_or_else(|| EMPTY.into()),
            false => Err(EMPTY.into()),
        }
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| EMPTY.into())
    }

    /// Takes everything above the last mark, and the mark.
    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, n: usize) -> Result<(), String> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<Id>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let place = u32::try_from(place).map_err(|_| "a memo beyond counting")?;
        self.memo.insert(place, self.top()?);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let found = u32::try_from(place).ok().and_then(|place| self.memo.get(&place));
        self.stack.push(*found.ok_or_else(|| format!("nothing was remembered as {place}"))?);
        Ok(())
    }

    /// Adds items to the list on top; other things that take items are not looked into.
    fn append(&mut self, new: Vec<Id>) -> Result<(), String> {
        let list = self.top()?;
        if let Value::List(items) = &mut self.values[list.0 as usize] {
            items.extend(new);
        }
        Ok(())
    }

    /// Adds pairs to the dictionary on top.
    fn set(&mut self, new: Vec<Id>) -> Result<(), String> {
        if new.len() % 2 == 1 {
            return Err("a key without a value".into());
        }
        let dict = self.top()?;
        if let Value::Dict(pairs) = &mut self.values[dict.0 as usize] {
            pairs.extend(new.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    /// Notes a call. An ordered dictionary is a dictionary, whose pairs follow or are the argument.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<(), String> {
        if !matches!(&self.values[callable.0 as usize], Value::Global(name) if name == "collections.OrderedDict") {
            self.push(Value::Call(callable, arguments));
            return Ok(());
        }
        let items = |id: Id| match &self.values[id.0 as usize] {
            Value::Tuple(items) | Value::List(items) => Some(items.as_slice()),
            _ => None,
        };
        let given = items(arguments).and_then(|list| items(*list.first()?)).unwrap_or_default();
        let pairs = given.iter().filter_map(|pair| <[Id; 2]>::try_from(items(*pair)?).ok()).map(|[key, value]| (key, value)).collect();
        self.push(Value::Dict(pairs));
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.push(Value::Global(format!("{module}.{name}")));
    }

    /// Does what one opcode says; the last gives the value that the pickle stands for.
    fn step(&mut self) -> Result<Option<Id>, String> {
        let code = self.take(1)?[0];
        match code {
            // PROTO, FRAME
            0x80 => match self.take(1)?[0] {
                2..=5 => {}
                other => return Err(format!("protocol {other} is not read")),
            },
            0x95 => drop(self.take(8)?),
            // STOP
            b'.' => return self.pop().map(Some),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?),
            b'2' => self.stack.push(self.top()?),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let number = self.number(4)? as u32 as i32;
                self.push(Value::Int(i64::from(number)));
            }
            b'K' | b'M' => {
                let number = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(number as i64));
            }
            0x8a | 0x8b => {
                let digits = self.counted(if code == 0x8a { 1 } else { 4 })?;
                self.push(long(digits));
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' | 0x8c | 0x8d => {
                let text = utf8(self.counted(width(code))?)?;
                self.push(Value::Text(text));
            }
            // BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => {
                self.counted(width(code))?;
                self.push(Value::Other);
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.tuple(0)?,
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b't' => {
                let items = self.above_mark()?;
                self.push(Value::Tuple(items));
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.above_mark()?;
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.append(items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Dict(Vec::new()));
                self.set(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(items)?;
            }
            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.push(Value::Other),
            0x90 => drop(self.above_mark()?),
            0x91 => {
                self.above_mark()?;
                self.push(Value::Other);
            }
            // BINGET, LONG_BINGET, BINPUT, LONG_BINPUT, MEMOIZE
            b'h' | b'j' => {
                let place = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(place)?;
            }
            b'q' | b'r' => {
                let place = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err("an imported name that is no text"),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.global(&module, &name);
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            // BUILD: attributes of an object, and no tensor of a dictionary.
            b'b' => drop(self.pop()?),
            // BINPERSID
            b'Q' => {
                let name = self.pop()?;
                self.push(Value::Outside(name));
            }
            other => return Err(format!("opcode {other:#04x} is not read")),
        }
        Ok(None)
    }
}

/// Returns how many bytes say the length of what follows.
fn width(code: u8) -> usize {
    match code {
        0x8c | b'U' | b'C' => 1,
        0x8d | 0x8e | 0x96 => 8,
        _ => 4,
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text that is not UTF-8".into())
}

/// Returns a whole number in two's complement; those beyond 64 bits count nothing.
fn long(digits: &[u8]) -> Value {
    let sign = if digits.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    match digits.len() {
        0..=8 => Value::Int(i64::from_le_bytes(std::array::from_fn(|i| digits.get(i).copied().unwrap_or(sign)))),
        _ => Value::Other,
    }
}
