package config

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// forbidden finds the parts of YAML by which a file says something else than it seems to.
func forbidden(name string, node ast.Node) Errors {
	var errs Errors
	refuse := func(n ast.Node, what, why, help string) {
		pos := position(n)
		errs = append(errs, &Error{File: name, Line: pos.Line, Col: pos.Col, What: what, Why: why, Help: help})
	}
	const twice = "write the value out where it is needed"
	var walk func(ast.Node)
	walk = func(n ast.Node) {
		switch n := n.(type) {
		case *ast.AnchorNode:
			refuse(n, "anchor", "not accepted", twice)
		case *ast.AliasNode:
			refuse(n, "alias", "not accepted", twice)
		case *ast.MergeKeyNode:
			refuse(n, "merge key", "not accepted", twice)
		case *ast.TagNode:
			refuse(n, "tag", "not accepted", "remove it; quote what must be text")
		case *ast.MappingKeyNode:
			refuse(n, "explicit key", "not accepted", "write it as key: value")
		case *ast.MappingNode:
			for _, v := range n.Values {
				walk(v)
			}
		case *ast.MappingValueNode:
			walk(n.Key)
			walk(n.Value)
		case *ast.SequenceNode:
			for _, v := range n.Values {
				walk(v)
			}
		}
	}
	walk(node)
	return errs
}

// position is where a node starts.
func position(n ast.Node) Position {
	switch v := n.(type) {
	case *ast.MappingNode:
		if v.IsFlowStyle || len(v.Values) == 0 {
			return tokenPosition(v.Start)
		}
		return position(v.Values[0])
	case *ast.MappingValueNode:
		return position(v.Key)
	}
	return tokenPosition(n.GetToken())
}

func tokenPosition(tk *token.Token) Position {
	if tk == nil || tk.Position == nil {
		return Position{1, 1}
	}
	return Position{max(1, tk.Position.Line), max(1, tk.Position.Column)}
}

// entry is one key of a mapping and its value.
type entry struct {
	key   string
	pos   Position // of the key
	value ast.Node
}

// entriesOf are a mapping's, in the order of the file; ok is false for what is no mapping.
func entriesOf(n ast.Node) (entries []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		return nil, false
	}
	for _, v := range values {
		key := v.Key.GetToken().Value
		if s, ok := v.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		entries = append(entries, entry{key, position(v.Key), v.Value})
	}
	return entries, true
}

// textOf is a scalar as it was written. It is plain if YAML takes it for a number or a truth.
func textOf(n ast.Node) (text string, plain, ok bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, false, true
	case *ast.LiteralNode:
		return v.Value.Value, false, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true, true
	}
	return "", false, false
}

// kindOf says what a node is, without what is in it.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "text"
}

func isNull(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return null || n == nil
}
