package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
)

// Offsets in struct seccomp_data of a little-endian machine.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

func loadWord(off uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: off, Size: 4} }

// arguments returns the body of a rule: result if all conditions hold, else on with the next rule, with the number of
// the system call loaded again.
func arguments(conditions []specs.LinuxSeccompArg, result uint32) ([]bpf.Instruction, error) {
	if len(conditions) == 0 {
		return []bpf.Instruction{bpf.RetConstant{Val: result}}, nil
	}
	// Built from the end: each condition skips what follows it, if it does not hold.
	out := []bpf.Instruction{bpf.RetConstant{Val: result}}
	for i := len(conditions) - 1; i >= 0; i-- {
		c, err := condition(conditions[i], uint8(len(out)))
		if err != nil {
			return nil, err
		}
		out = append(c, out...)
		if len(out) > 200 {
			return nil, fmt.Errorf("too many conditions")
		}
	}
	return append(out, loadWord(offNumber)), nil
}

// condition compares a 64-bit argument, a half at a time as the machine of the filter has 32 bits, and skips so many
// instructions after itself if it does not hold.
func condition(c specs.LinuxSeccompArg, skip uint8) ([]bpf.Instruction, error) {
	if c.Index > 5 {
		return nil, fmt.Errorf("argument %d: there are six, from 0 on", c.Index)
	}
	low := offArgs + 8*uint32(c.Index)
	high := low + 4
	val, mask := c.Value, ^uint64(0)
	if c.Op == specs.OpMaskedEqual {
		val, mask = c.ValueTwo&c.Value, c.Value
	}
	hi, lo := uint32(val>>32), uint32(val)
	half := func(off uint32, m uint64) []bpf.Instruction {
		if uint32(m) == ^uint32(0) {
			return []bpf.Instruction{loadWord(off)}
		}
		return []bpf.Instruction{loadWord(off), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(m)}}
	}
	first, second := half(high, mask>>32), half(low, mask)
	rest := uint8(len(second)) // of the condition after the test of the high half, but its last instruction
	join := func(tests []bpf.Instruction, last bpf.Instruction) []bpf.Instruction {
		return append(append(append(first, tests...), second...), last)
	}
	jump := func(cond bpf.JumpTest, v uint32, yes, no uint8) bpf.Instruction {
		return bpf.JumpIf{Cond: cond, Val: v, SkipTrue: yes, SkipFalse: no}
	}
	switch c.Op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		return join([]bpf.Instruction{jump(bpf.JumpEqual, hi, 0, rest+1+skip)}, jump(bpf.JumpEqual, lo, 0, skip)), nil
	case specs.OpNotEqual:
		return join([]bpf.Instruction{jump(bpf.JumpEqual, hi, 0, rest+1)}, jump(bpf.JumpEqual, lo, skip, 0)), nil
	}
	ordered := map[specs.LinuxSeccompOperator]struct {
		high bpf.JumpTest // decides if the high halves differ
		low  bpf.JumpTest
	}{
		specs.OpGreaterThan:  {bpf.JumpGreaterThan, bpf.JumpGreaterThan},
		specs.OpGreaterEqual: {bpf.JumpGreaterThan, bpf.JumpGreaterOrEqual},
		specs.OpLessThan:     {bpf.JumpLessThan, bpf.JumpLessThan},
		specs.OpLessEqual:    {bpf.JumpLessThan, bpf.JumpLessOrEqual},
	}
	o, ok := ordered[c.Op]
	if !ok {
		return nil, fmt.Errorf("comparison %q is not supported", c.Op)
	}
	return join([]bpf.Instruction{jump(o.high, hi, rest+2, 0), jump(bpf.JumpEqual, hi, 0, rest+1+skip)}, jump(o.low, lo, 0, skip)), nil
}
