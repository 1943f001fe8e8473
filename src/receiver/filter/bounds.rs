//! What a filter may cost, checked before it is parsed or evaluated.

use cel::{IdedExpr, common::ast::Expr};
use std::{iter::Peekable, str::Bytes};

/// The longest filter, in bytes. SDKs list hundreds of flow names in one.
const MOST_BYTES: usize = 64 * 1024;

/// How many operators and selections a filter may have: evaluation recurses over them. A list of
/// any length needs one (`in`).
const MOST_OPERATORS: usize = 256;

/// How deep brackets may nest.
const MOST_NESTING: usize = 24;

/// Whether an expression holds a macro that loops: those could make a short filter run for years.
pub(super) fn loops(expression: &IdedExpr) -> bool {
    let mut rest = vec![expression];
    while let Some(IdedExpr { expr, .. }) = rest.pop() {
        match expr {
            Expr::Comprehension(_) | Expr::Struct(_) | Expr::Map(_) => return true,
            Expr::Call(call) => {
                rest.extend(call.target.as_deref());
                rest.extend(&call.args);
            }
            Expr::List(list) => rest.extend(&list.elements),
            Expr::Select(select) => rest.push(&select.operand),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }
    false
}

/// Bounds what compiling and evaluating may cost. The count errs on the safe side: whatever could
/// hide operators from it (raw and triple-quoted strings, comments) is refused.
pub(super) fn check_size(source: &str) -> Result<(), String> {
    if source.len() > MOST_BYTES {
        return Err(format!("it has {} bytes; at most {MOST_BYTES} are allowed", source.len()));
    }
    let (mut operators, mut nesting, mut deepest) = (0usize, 0usize, 0usize);
    let mut word = String::new();
    let mut bytes = source.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word.push(char::from(byte));
            continue;
        }
        operators += usize::from(word == "in");
        match byte {
            b'\'' | b'"' if !word.is_empty() || !skip_string(&mut bytes, byte) => {
                let at = source.len() - bytes.len();
                return Err(format!(
                    "the string that ends near byte {at} is not closed, raw, or triple-quoted; write it as '...' or \"...\""
                ));
            }
            b'/' if bytes.peek() == Some(&b'/') => return Err("it has a comment".to_owned()),
            b'(' | b'[' | b'{' => {
                operators += 1;
                nesting += 1;
                deepest = deepest.max(nesting);
            }
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'?' | b':' | b'.' | b'<' | b'>' | b'=' | b'&' | b'|' => {
                operators += 1
            }
            _ => {}
        }
        word.clear();
    }
    // `==`, `&&`, `||` and the like are two bytes each, so this counts some operators twice.
    if operators > 2 * MOST_OPERATORS {
        return Err(format!("it has more than {MOST_OPERATORS} operators; use `in [...]` for long lists"));
    }
    if deepest > MOST_NESTING {
        return Err(format!("its brackets nest more than {MOST_NESTING} deep"));
    }
    Ok(())
}

/// Skips a string after its opening quote; false if it is not an ordinary string.
fn skip_string(bytes: &mut Peekable<Bytes<'_>>, quote: u8) -> bool {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'\n' | b'\r' => return false,
            // A quote right after the closing one: three of them open another kind of string.
            _ if byte == quote => return bytes.peek() != Some(&quote),
            _ => {}
        }
    }
    false
}
