#include "textflag.h"
#include "go_asm.h"

// The loop of decodeGo for processors with BMI2. BZHI, SHRX and SHLX look at the low bits of a count only: an entry's low byte
// is the number of bits that it takes, so it is a count as it stands, and what gathers above the low byte of held is of no harm.

#define e         AX // the entry of the symbol that comes next, or of the distance
#define t         BX // what is of use for two or three lines
#define from      CX
#define distance  DX
#define in        SI // the next byte, as out
#define out       DI
#define hold      R8
#define held      R9
#define literals  R10
#define distances R11
#define inEnd     R12
#define outEnd      R13
#define begin     R14 // of out
#define length    R15

// REFILL has 56 bits held at least. The bits of hold above held are right already: or-ing them again changes nothing.
#define REFILL \
	MOVQ  (in), t      \
	SHLXQ held, t, t   \
	ORQ   t, hold      \
	MOVL  held, t      \
	NOTL  t            \
	SHRL  $3, t        \
	ANDL  $7, t        \
	ADDQ  t, in        \
	ORL   $56, held

// LOOKUP finds the entry that the first bits of hold have in a table.
#define LOOKUP(table, first) \
	MOVL hold, t                 \
	ANDL $((1<<first)-1), t      \
	MOVL (table)(t*4), e

// FOLLOW does so in the second table that e, a link, leads to.
#define FOLLOW(table, first, size) \
	MOVQ  hold, t             \
	SHRQ  $first, t           \
	MOVL  e, CX               \
	SHRL  $8, CX              \
	ANDL  $15, CX             \
	BZHIL CX, t, t            \
	SHRL  $16, e              \
	ADDL  e, t                \
	ANDL  $((1<<size)-1), t   \
	MOVL  (table)(t*4), e

// TAKE drops the bits of e.
#define TAKE \
	SHRXQ e, hold, hold \
	SUBL  e, held

// LITERAL writes that of e and looks up the next entry.
#define LITERAL \
	TAKE                                \
	MOVL  e, CX                         \
	LOOKUP(literals, const_LitBits)     \
	SHRL  $16, CX                       \
	MOVB  CX, (out)                     \
	INCQ  out

// VALUE is the length or distance of e, of the code and the bits behind it, which it takes.
#define VALUE(v) \
	BZHIQ e, hold, t   \
	MOVL  e, v         \
	SHRL  $8, v        \
	SHRXQ v, t, t      \
	MOVL  e, v         \
	SHRL  $16, v       \
	ADDL  t, v         \
	TAKE

// func decodeBMI2(d *Decoder, until, full int) (special uint32)
TEXT ·decodeBMI2(SB), NOSPLIT, $0-28
	MOVQ d+0(FP), AX
	MOVQ Decoder_In(AX), in
	MOVQ in, inEnd
	ADDQ until+8(FP), inEnd
	ADDQ Decoder_At(AX), in
	MOVQ Decoder_Out(AX), begin
	MOVQ begin, outEnd
	ADDQ full+16(FP), outEnd
	MOVQ begin, out
	ADDQ Decoder_Made(AX), out
	MOVQ Decoder_Hold(AX), hold
	MOVQ Decoder_Held(AX), held
	LEAQ Decoder_Literals(AX), literals
	LEAQ Decoder_Distances(AX), distances

	CMPQ in, inEnd
	JAE  leave
	CMPQ out, outEnd
	JHI  leave
	REFILL
	LOOKUP(literals, const_LitBits)
	JMP  symbol

next:
	CMPQ in, inEnd
	JAE  leave
	CMPQ out, outEnd
	JHI  leave

	// 56 bits are enough for two literals of the first table, 11 bits each, and a length with its extra bits, 20.
	REFILL

symbol:
	TESTL e, e // literals are negative
	JNS   other
	LITERAL
	TESTL e, e
	JNS   other
	LITERAL
	TESTL e, e
	JNS   other
	LITERAL
	JMP   next

other:
	TESTL $const_IsSpecial, e
	JNZ   special

match:
	VALUE(length)
	REFILL
	LOOKUP(distances, const_DistBits)
	TESTL $const_IsSpecial, e
	JNZ   far

copy:
	VALUE(distance)
	MOVQ  out, from
	SUBQ  distance, from
	CMPQ  from, begin
	JB    bad
	LOOKUP(literals, const_LitBits)

	// What is written too much is written over: there is room for it.
	MOVQ  out, t
	ADDQ  length, out
	CMPL  distance, $16
	JB    near

by16:
	MOVOU (from), X0
	MOVOU X0, (t)
	ADDQ  $16, from
	ADDQ  $16, t
	CMPQ  t, out
	JB    by16
	JMP   next

near:
	CMPL distance, $1
	JE   run
	CMPL distance, $8
	JAE  by8

	// Of eight bytes as many are right as the distance is, which doubles each time.
widen:
	MOVQ (from), length
	MOVQ length, (t)
	ADDQ distance, t
	ADDL distance, distance
	CMPL distance, $8
	JB   widen

by8:
	MOVQ (from), length
	MOVQ length, (t)
	ADDQ $8, from
	ADDQ $8, t
	CMPQ t, out
	JB   by8
	JMP  next

run:
	MOVBQZX    (from), length
	MOVQ       $0x0101010101010101, distance
	IMULQ      distance, length
	MOVQ       length, X0
	PUNPCKLQDQ X0, X0

runBy16:
	MOVOU X0, (t)
	ADDQ  $16, t
	CMPQ  t, out
	JB    runBy16
	JMP   next

far:
	TESTL $const_IsLink, e
	JZ    bad
	FOLLOW(distances, const_DistBits, const_DistSize)
	TESTL $const_IsSpecial, e
	JZ    copy

bad:
	MOVL $const_IsSpecial, e
	JMP  save

special:
	TESTL $const_IsLink, e
	JZ    save
	FOLLOW(literals, const_LitBits, const_LitSize)
	TESTL e, e
	JNS   long
	LITERAL
	JMP   next

long:
	TESTL $const_IsSpecial, e
	JZ    match
	JMP   save

leave:
	XORL e, e

save:
	MOVL e, special+24(FP)
	MOVQ d+0(FP), AX
	SUBQ Decoder_In(AX), in
	MOVQ in, Decoder_At(AX)
	SUBQ begin, out
	MOVQ out, Decoder_Made(AX)
	MOVQ hold, Decoder_Hold(AX)
	ANDL $63, held
	MOVQ held, Decoder_Held(AX)
	RET
