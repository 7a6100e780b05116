package process

import (
	"strings"

	"freshet.dev/freshet"
)

// The placeholders. Any other braces are an argument's own.
const (
	placeScope    = "{scope}"
	placeTenant   = "{tenant}"
	placeAudience = "{audience}"
)

func placeholdersIn(arg string) freshet.Fields {
	var f freshet.Fields
	for place, one := range map[string]freshet.Fields{
		placeScope: freshet.FieldScopes, placeTenant: freshet.FieldTenant, placeAudience: freshet.FieldAudience,
	} {
		if strings.Contains(arg, place) {
			f |= one
		}
	}
	return f
}

// expand puts what is asked for into the command's arguments. A value fills one argument or a part of one, and never becomes
// two. Several scopes are joined by spaces where {scope} is a whole argument, which is how OAuth writes them (RFC 6749 §3.3);
// as a part of an argument they cannot be told from one another, and are refused.
func expand(command []string, req freshet.Request) ([]string, error) {
	args := make([]string, len(command))
	for i, arg := range command {
		places := placeholdersIn(arg)
		if i == 0 || places == 0 {
			args[i] = arg
			continue
		}
		var pairs []string
		for _, p := range []struct {
			field  freshet.Fields
			place  string
			values []string
		}{
			{freshet.FieldScopes, placeScope, req.Scopes},
			{freshet.FieldTenant, placeTenant, []string{req.Tenant}},
			{freshet.FieldAudience, placeAudience, []string{req.Audience}},
		} {
			if places&p.field == 0 {
				continue
			}
			if len(p.values) > 1 && arg != placeScope {
				return nil, freshet.Errorf(freshet.Invalid, "several scopes for %s, which is a part of an argument", p.place).
					WithHint("ask for one scope, or make %s an argument of its own in the command", p.place)
			}
			if len(p.values) == 0 {
				p.values = []string{""}
			}
			for _, v := range p.values {
				if err := fit(p.place, v); err != nil {
					return nil, err
				}
			}
			pairs = append(pairs, p.place, strings.Join(p.values, " "))
		}
		// One pass: a value that looks like a placeholder is not replaced again.
		args[i] = strings.NewReplacer(pairs...).Replace(arg)
	}
	return args, nil
}

// valueRunes are what scopes, tenants and audiences are written in. What is not among them would end a word, or begin another
// command, where the program is a shell that an argument is a script for.
const valueRunes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@%+,="

// fit checks one value of a placeholder.
func fit(place, value string) error {
	switch {
	case value == "":
		return freshet.Errorf(freshet.Invalid, "nothing is asked for that could fill %s", place).
			WithHint("name one in the request, or a default for it in the identity's configuration")
	case value[0] == '-':
		return freshet.Errorf(freshet.Invalid, "%s would be filled with an option", place)
	case strings.Contains(value, ".."):
		return freshet.Errorf(freshet.Invalid, "%s would be filled with a path upwards", place)
	case strings.ContainsFunc(value, func(r rune) bool { return !strings.ContainsRune(valueRunes, r) }):
		return freshet.Errorf(freshet.Invalid, "%s would be filled with characters that are not passed on to programs", place).
			WithHint("letters, digits and %s are", "-._~:/@%+,=")
	}
	return nil
}
