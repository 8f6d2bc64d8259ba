//! Words to nodes.

use super::functions::is_function;
use super::lex::{Piece, Word, split};
use super::{Base, Command, Node, Operand, Pipeline, TemplateError};

/// Blocks in blocks. Parsing and running recurse.
const DEEPEST: usize = 100;

/// Parses a template.
pub(in crate::image) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: split(template)?, next: 0, depth: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        Ended::WithText => Ok(nodes),
        Ended::Closed => Err(TemplateError("unexpected {{end}}".to_owned())),
        Ended::Otherwise(_) => Err(TemplateError("unexpected {{else}}".to_owned())),
    }
}

struct Parser {
    pieces: Vec<Piece>,
    next: usize,
    depth: usize,
}

/// What ended a block.
enum Ended {
    WithText,
    Closed,
    /// With the words after it: `else if …`.
    Otherwise(Vec<Word>),
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, Ended), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next).cloned() {
            self.next += 1;
            let words = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(words) => words,
            };
            let keyword = match words.first() {
                Some(Word::Name(name)) => name.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, Ended::Closed)),
                "else" => return Ok((nodes, Ended::Otherwise(words[1..].to_vec()))),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "if" | "with" | "range" => nodes.push(self.control(keyword, &words[1..])?),
                "define" | "template" | "block" => {
                    return Err(TemplateError(format!("`{keyword}` has no use here")));
                }
                _ => nodes.push(statement(&words)?),
            }
        }
        Ok((nodes, Ended::WithText))
    }

    /// `if`, `with` or `range`, to its end.
    fn control(&mut self, keyword: &str, head: &[Word]) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TemplateError(format!("more than {DEEPEST} blocks in each other")));
        }
        let (then, end) = self.block()?;
        let otherwise = match end {
            Ended::WithText => return Err(TemplateError("unexpected EOF".to_owned())),
            Ended::Closed => Vec::new(),
            // `else if` and `else with` share the `end` of what they are in.
            Ended::Otherwise(words) => match words.first() {
                Some(Word::Name(inner)) if inner == keyword && keyword != "range" => {
                    vec![self.control(keyword, &words[1..])?]
                }
                Some(_) => return Err(TemplateError("unexpected words after else".to_owned())),
                None => match self.block()? {
                    (otherwise, Ended::Closed) => otherwise,
                    _ => return Err(TemplateError(format!("{{{{{keyword}}}}} without its {{{{end}}}}"))),
                },
            },
        };
        self.depth -= 1;
        build(keyword, head, then, otherwise)
    }
}

fn build(keyword: &str, head: &[Word], then: Vec<Node>, otherwise: Vec<Node>) -> Result<Node, TemplateError> {
    let (mut names, value) = declared(head)?;
    let too_many = || TemplateError(format!("too many declarations in {keyword}"));
    Ok(match keyword {
        "if" if names.is_empty() => Node::If { condition: value, then, otherwise },
        "if" => return Err(TemplateError("an if declares no variable".to_owned())),
        "with" if names.len() < 2 => Node::With { value, variable: names.pop(), then, otherwise },
        "range" if names.len() < 3 => {
            let element = names.pop();
            Node::Range { over: value, key: names.pop(), value: element, each: then, none: otherwise }
        }
        _ => return Err(too_many()),
    })
}

/// `$a, $b := pipeline`, or a pipeline alone.
fn declared(words: &[Word]) -> Result<(Vec<String>, Pipeline), TemplateError> {
    let Some(at) = words.iter().position(|word| *word == Word::Sign(":=")) else {
        return Ok((Vec::new(), pipeline(words)?));
    };
    let mut names = Vec::new();
    for (number, word) in words[..at].iter().enumerate() {
        match word {
            Word::Variable(name, fields) if number % 2 == 0 && fields.is_empty() => names.push(name.clone()),
            Word::Sign(",") if number % 2 == 1 => {}
            _ => return Err(TemplateError("a variable's name is expected before `:=`".to_owned())),
        }
    }
    Ok((names, pipeline(&words[at + 1..])?))
}

fn statement(words: &[Word]) -> Result<Node, TemplateError> {
    if let [Word::Variable(name, fields), Word::Sign(sign @ (":=" | "=")), value @ ..] = words
        && fields.is_empty()
    {
        return Ok(Node::Set { name: name.clone(), is_new: *sign == ":=", value: pipeline(value)? });
    }
    Ok(Node::Print(pipeline(words)?))
}

fn pipeline(words: &[Word]) -> Result<Pipeline, TemplateError> {
    let mut rest = words;
    let found = commands(&mut rest)?;
    match rest.is_empty() {
        true => Ok(found),
        false => Err(TemplateError("unexpected `)`".to_owned())),
    }
}

/// Commands up to the end, or to a closing parenthesis, which is left.
fn commands(rest: &mut &[Word]) -> Result<Pipeline, TemplateError> {
    let mut found = Vec::new();
    loop {
        found.push(command(rest, found.is_empty())?);
        match rest.split_first() {
            Some((Word::Sign("|"), after)) => *rest = after,
            _ => return Ok(found),
        }
    }
}

fn command(rest: &mut &[Word], is_first: bool) -> Result<Command, TemplateError> {
    if let Some((Word::Name(function), after)) = rest.split_first() {
        if !is_function(function) {
            return Err(TemplateError(format!("function {function:?} not defined")));
        }
        *rest = after;
        let arguments = operands(rest)?;
        return Ok(Command::Call { function: function.clone(), arguments });
    }
    let mut found = operands(rest)?;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) if is_first => Ok(Command::Value(one)),
        (Some(_), true) => Err(TemplateError("a value cannot take what is piped to it".to_owned())),
        (Some(_), false) => Err(TemplateError("a value cannot be given arguments".to_owned())),
        (None, _) => Err(TemplateError("missing value for command".to_owned())),
    }
}

fn operands(rest: &mut &[Word]) -> Result<Vec<Operand>, TemplateError> {
    let mut found = Vec::new();
    while let Some((word, after)) = rest.split_first() {
        let (base, fields) = match word {
            Word::Fields(fields) => (Base::Dot, fields.clone()),
            Word::Variable(name, fields) => (Base::Variable(name.clone()), fields.clone()),
            Word::Literal(value) => (Base::Literal(value.clone()), Vec::new()),
            Word::Name(name) if is_function(name) => (Base::Function(name.clone()), Vec::new()),
            Word::Name(name) => return Err(TemplateError(format!("function {name:?} not defined"))),
            Word::Sign("(") => {
                let mut inner = after;
                let group = commands(&mut inner)?;
                let Some((Word::Close(fields), after)) = inner.split_first() else {
                    return Err(TemplateError("unclosed left paren".to_owned()));
                };
                *rest = after;
                found.push(Operand { base: Base::Group(group), fields: fields.clone() });
                continue;
            }
            Word::Sign(_) | Word::Close(_) => break,
        };
        *rest = after;
        found.push(Operand { base, fields });
    }
    Ok(found)
}
