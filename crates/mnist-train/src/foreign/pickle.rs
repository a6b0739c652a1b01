//! What a PyTorch file says, followed before Burn's reader follows it.
//!
//! That reader believes a pickle: it nests and copies objects without a limit, makes room for as many values as a shape
//! says, gives zeros for a storage that is damaged or not there, and takes a transposed tensor for one kept by rows. The
//! first two end the process, where no `catch_unwind` helps; the others give weights that nobody saved. So the same
//! operations are run here on what they need of an object: its kind, its size and its depth.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

/// Deepest nesting of objects.
const MOST_DEPTH: usize = 64;
/// Most objects, copies included; a tensor takes some dozens.
const MOST_OBJECTS: u64 = 1 << 21;
/// Most objects between a mark and the operation that takes them: the reader takes them one by one from the front.
const MOST_AT_ONCE: usize = 20_000;
/// Bytes of text that count as one more object.
const TEXT: usize = 64;

/// What is known of an object.
#[derive(Clone)]
struct Item {
    what: What,
    /// Objects in it, itself included.
    weight: u64,
    /// Objects in it, one inside the other.
    depth: usize,
}

#[derive(Clone)]
enum What {
    Int(i64),
    Text(String),
    Class(String, String),
    Tuple(Vec<Rc<Item>>),
    List(Vec<Rc<Item>>),
    Dict,
    /// So many elements.
    Storage(u64),
    Tensor,
    Other,
}

impl Item {
    fn leaf(what: What) -> Self {
        let text = match &what {
            What::Text(text) => text.len(),
            What::Class(module, name) => module.len() + name.len(),
            _ => 0,
        };
        Self { what, weight: 1 + (text / TEXT) as u64, depth: 1 }
    }

    fn holding(what: What, parts: &[Rc<Item>]) -> Self {
        let mut item = Self { what, weight: 1, depth: 1 };
        parts.iter().for_each(|part| item.hold(part));
        item
    }

    fn hold(&mut self, part: &Item) {
        self.weight = self.weight.saturating_add(part.weight);
        self.depth = self.depth.max(part.depth + 1);
    }

    /// What Burn's reader takes for a mark.
    fn is_mark(&self) -> bool {
        matches!(&self.what, What::Class(module, name) if module == "mark" && name == "mark")
    }
}

/// What a pickle uses.
#[derive(Default)]
pub(super) struct Uses {
    /// Bytes of each storage.
    pub(super) storages: BTreeMap<String, u64>,
    /// Values of all tensors together.
    pub(super) values: u64,
    /// The texts in it where it is a list.
    pub(super) texts: Option<Vec<String>>,
}

/// Follows the pickle that `bytes` begin with; what it uses, and the bytes after it.
///
/// # Errors
/// A message: what was found, and what a state dict has there.
pub(super) fn follow(bytes: &[u8]) -> Result<(Uses, &[u8]), String> {
    let mut pickle = Pickle { left: bytes, ..Pickle::default() };
    if let Some((0x80, rest)) = bytes.split_first() {
        pickle.left = rest;
        let version = pickle.byte()?;
        if version > 5 {
            return Err(format!("its pickle is of protocol {version}; 2 to 5 are read"));
        }
    }
    loop {
        let operation = pickle.byte()?;
        if operation == b'.' {
            break;
        }
        pickle.run(operation)?;
    }
    let text = |item: &Rc<Item>| if let What::Text(text) = &item.what { Some(text.clone()) } else { None };
    let texts = match &pickle.pop()?.what {
        What::List(items) => Some(items.iter().filter_map(text).collect()),
        _ => None,
    };
    Ok((Uses { texts, ..pickle.uses }, pickle.left))
}

#[derive(Default)]
struct Pickle<'a> {
    left: &'a [u8],
    stack: Vec<Rc<Item>>,
    memo: HashMap<u32, Rc<Item>>,
    objects: u64,
    uses: Uses,
}

impl<'a> Pickle<'a> {
    /// One operation; the names are those of Python's `pickletools`.
    fn run(&mut self, operation: u8) -> Result<(), String> {
        match operation {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                self.push(Item::leaf(What::Class(module, name)))
            }
            b'J' => self.array().and_then(|b| self.push_int(i64::from(i32::from_le_bytes(b)))),
            b'K' => self.byte().and_then(|b| self.push_int(i64::from(b))),
            b'M' => self.array().and_then(|b| self.push_int(i64::from(u16::from_le_bytes(b)))),
            b'I' => {
                let line = self.line()?;
                self.push_int(line.parse().map_err(|_| format!("{line:?} stands for a whole number"))?)
            }
            0x8a => {
                let length = usize::from(self.byte()?);
                let bytes = self.take(length)?; // LONG1
                let sign = if length < 8 && bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut value = [sign; 8];
                value.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                self.push_int(i64::from_le_bytes(value))
            }
            b'G' => self.take(8).and_then(|_| self.push(Item::leaf(What::Other))),
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                self.push_text(length as usize)
            }
            b'U' => self.byte().and_then(|length| self.push_text(usize::from(length))),
            b'N' | 0x88 | 0x89 => self.push(Item::leaf(What::Other)),
            b')' => self.push(Item::leaf(What::Tuple(Vec::new()))),
            b']' => self.push(Item::leaf(What::List(Vec::new()))),
            b'}' => self.push(Item::leaf(What::Dict)),
            b'(' => self.push(Item::leaf(What::Class("mark".into(), "mark".into()))),
            b't' | 0x85..=0x87 => {
                let parts = match operation {
                    b't' => self.until_mark()?,
                    count => self.last(usize::from(count - 0x84))?,
                };
                self.push(Item::holding(What::Tuple(parts.clone()), &parts))
            }
            b'l' => {
                let parts = self.until_mark()?;
                self.push(Item::holding(What::List(parts.clone()), &parts))
            }
            b'd' => {
                let parts = self.until_mark()?;
                self.push(Item::holding(What::Dict, &parts))
            }
            b'a' | b'e' => {
                let parts = if operation == b'a' { self.last(1)? } else { self.until_mark()? };
                self.put_into(&parts, |what| matches!(what, What::List(_)))
            }
            b's' | b'u' => {
                let parts = if operation == b's' { self.last(2)? } else { self.until_mark()? };
                self.put_into(&parts, |what| matches!(what, What::Dict))
            }
            b'q' => self.byte().and_then(|at| self.remember(u32::from(at))),
            b'r' => self.array().and_then(|at| self.remember(u32::from_le_bytes(at))),
            0x94 => self.remember(u32::try_from(self.memo.len()).unwrap_or(u32::MAX)),
            b'h' => self.byte().and_then(|at| self.recall(u32::from(at))),
            b'j' => self.array().and_then(|at| self.recall(u32::from_le_bytes(at))),
            b'Q' => self.storage(),
            b'R' => self.call(),
            b'b' | 0x81 => {
                let parts = self.last(2)?; // BUILD, NEWOBJ
                let dict = operation == b'b' && parts.iter().all(|part| matches!(part.what, What::Dict));
                self.push(Item::holding(if dict { What::Dict } else { What::Other }, &parts))
            }
            other => {
                Err(format!("its pickle has the operation {other:#04x}, which no dictionary of tensors has"))
            }
        }
    }

    /// BINPERSID: the tuple `("storage", type, key, device, elements)`.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let What::Tuple(parts) = &id.what else {
            return Err("a storage of it has no tuple as its name".into());
        };
        let part = |i: usize| parts.get(i).map(|part| &part.what);
        let (Some(What::Class(_, kind) | What::Text(kind)), Some(What::Text(key)), Some(What::Int(elements))) =
            (part(1), part(2), part(4))
        else {
            return Err("a storage of it does not say its type, key and number of elements".into());
        };
        let size = match kind.as_str() {
            "DoubleStorage" | "LongStorage" => 8,
            "FloatStorage" | "IntStorage" => 4,
            "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
            "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
            other => return Err(format!("a storage of it is of type {other}, which is not read")),
        };
        let bytes = u64::try_from(*elements).ok().and_then(|n| Some((n, n.checked_mul(size)?)));
        let (elements, bytes) = bytes.ok_or_else(|| format!("storage {key} has {elements} elements"))?;
        let known = *self.uses.storages.entry(key.clone()).or_insert(bytes);
        if known != bytes {
            return Err(format!("storage {key} has {known} bytes in one place and {bytes} in another"));
        }
        self.push(Item { what: What::Storage(elements), ..(*id).clone() })
    }

    /// REDUCE: what is called and with what. Nothing is; only the makers of tensors and dictionaries are known.
    fn call(&mut self) -> Result<(), String> {
        let parts = self.last(2)?;
        let [callable, arguments] = parts.as_slice() else { return Err(cut()) };
        self.spend(arguments.weight.saturating_mul(2))?;
        let What::Class(module, name) = &callable.what else {
            return Err("it calls what has no name".into());
        };
        let given = match &arguments.what {
            What::Tuple(given) => given.as_slice(),
            _ => &[],
        };
        let what = match (module.as_str(), name.as_str()) {
            ("collections", "OrderedDict") => What::Dict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => self.tensor(given)?,
            ("torch._utils", "_rebuild_parameter")
                if given.first().is_some_and(|data| matches!(data.what, What::Tensor)) =>
            {
                What::Tensor
            }
            _ => {
                return Err(format!(
                    "it calls {module}.{name}, and nothing in it is run: save a dictionary of tensors, \
                     `torch.save(model.state_dict(), FILE)`"
                ));
            }
        };
        self.push(Item::holding(what, &parts))
    }

    /// `_rebuild_tensor(storage, offset, sizes, strides, ...)`: inside its storage, row by row.
    fn tensor(&mut self, given: &[Rc<Item>]) -> Result<What, String> {
        let numbers = |item: &Rc<Item>| match &item.what {
            What::Tuple(parts) => parts.iter().map(|part| number(part)).collect::<Option<Vec<u64>>>(),
            _ => None,
        };
        let found = match given {
            [storage, offset, sizes, strides, ..] => match &storage.what {
                What::Storage(elements) => number(offset)
                    .zip(numbers(sizes).zip(numbers(strides)))
                    .map(|(offset, (sizes, strides))| (*elements, offset, sizes, strides)),
                _ => None,
            },
            _ => None,
        };
        let (elements, offset, sizes, strides) =
            found.ok_or("a tensor of it does not say where it is, its size and its strides")?;
        let count = sizes.iter().try_fold(1u64, |count, size| count.checked_mul(*size));
        let end = count.and_then(|count| count.checked_add(offset));
        if count == Some(0) {
            return Err(format!("a tensor of it has the size {sizes:?} and no value"));
        }
        let (Some(count), true) = (count, end.is_some_and(|end| end <= elements)) else {
            return Err(format!(
                "a tensor of size {sizes:?} begins at element {offset} of a storage of {elements}; it has to be in it"
            ));
        };
        let mut step = 1;
        let by_rows = sizes.len() == strides.len()
            && sizes.iter().zip(&strides).rev().all(|(size, stride)| {
                let right = *size == 1 || *stride == step;
                step *= size; // at most `count`
                right
            });
        if !by_rows {
            return Err(format!(
                "a tensor of size {sizes:?} has strides {strides:?}, it is not kept row by row: save it with \
                 `.contiguous()`"
            ));
        }
        self.uses.values = self.uses.values.saturating_add(count);
        Ok(What::Tensor)
    }

    /// APPEND, APPENDS, SETITEM, SETITEMS.
    fn put_into(&mut self, parts: &[Rc<Item>], fits: fn(&What) -> bool) -> Result<(), String> {
        let Some(item) = self.stack.last_mut().filter(|item| fits(&item.what)) else {
            return Err("its pickle puts something into what cannot hold it".into());
        };
        let item = Rc::make_mut(item);
        parts.iter().for_each(|part| item.hold(part));
        if let What::List(items) = &mut item.what {
            items.extend(parts.iter().cloned());
        }
        shallow(item)
    }

    fn remember(&mut self, at: u32) -> Result<(), String> {
        let item = self.stack.last().cloned().ok_or_else(empty)?;
        self.spend(item.weight)?;
        self.memo.insert(at, item);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let item = self.memo.get(&at).cloned();
        let item = item.ok_or_else(|| format!("its pickle asks for object {at}, which it has not kept"))?;
        self.spend(item.weight)?;
        self.stack.push(item);
        Ok(())
    }

    fn push(&mut self, item: Item) -> Result<(), String> {
        self.spend(1 + (item.weight - 1) / 8)?;
        shallow(&item)?;
        self.stack.push(Rc::new(item));
        Ok(())
    }

    fn push_int(&mut self, value: i64) -> Result<(), String> {
        self.push(Item::leaf(What::Int(value)))
    }

    fn push_text(&mut self, length: usize) -> Result<(), String> {
        let text = utf8(self.take(length)?)?;
        self.push(Item::leaf(What::Text(text)))
    }

    fn spend(&mut self, objects: u64) -> Result<(), String> {
        self.objects = self.objects.saturating_add(objects);
        if self.objects > MOST_OBJECTS {
            return Err(format!("its pickle makes more than {MOST_OBJECTS} objects"));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Rc<Item>, String> {
        self.stack.pop().ok_or_else(empty)
    }

    /// The topmost objects, the lowest of them first.
    fn last(&mut self, count: usize) -> Result<Vec<Rc<Item>>, String> {
        let from = self.stack.len().checked_sub(count).ok_or_else(empty)?;
        Ok(self.stack.split_off(from))
    }

    fn until_mark(&mut self) -> Result<Vec<Rc<Item>>, String> {
        let mark = self.stack.iter().rposition(|item| item.is_mark());
        let parts = self.stack.split_off(mark.ok_or("its pickle ends what it has not begun")? + 1);
        self.stack.pop();
        if parts.len() > MOST_AT_ONCE {
            return Err(format!(
                "its pickle puts {} objects somewhere at once; {MOST_AT_ONCE} are read",
                parts.len()
            ));
        }
        Ok(parts)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.left.split_at_checked(count).ok_or_else(cut)?;
        self.left = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.left.split_first_chunk().ok_or_else(cut)?;
        self.left = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.left.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        let line = self.take(end)?;
        self.take(1)?;
        utf8(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn number(item: &Item) -> Option<u64> {
    if let What::Int(value) = item.what { u64::try_from(value).ok() } else { None }
}

fn shallow(item: &Item) -> Result<(), String> {
    if item.depth > MOST_DEPTH {
        return Err(format!("its pickle nests objects more than {MOST_DEPTH} deep"));
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text of its pickle is not UTF-8".into())
}

fn cut() -> String {
    "its pickle is cut short".into()
}

fn empty() -> String {
    "its pickle takes an object where there is none".into()
}
