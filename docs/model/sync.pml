/* CE-CE synchronisation (docs/ce-ce-sync.md): one FE, two CEs, a few changes; either CE crashes and
 * returns at any point, every transport breaks at any point and loses what is on the way, events
 * are lost one by one, a master is suspected while it lives. docs/model/README.md explains what is
 * proven and how; docs/model/check runs everything.
 *
 * A change is a number. What the FE holds is the sequence of Configs that it carried out: a replica
 * is a copy of it, and a picture of the tables is the set of the changes in the copy. Time is not
 * here: whatever a timer may do happens at any moment.
 */
#ifndef CHANGES
#define CHANGES  2   /* changes that masters make, one after the other */
#endif
#ifndef CRASHES
#define CRASHES  1   /* of either CE; it returns without its state */
#endif
#ifndef BREAKS
#define BREAKS   1   /* of a transport between the FE and a CE */
#endif
#ifndef FRBREAKS
#define FRBREAKS 1   /* of the transport between the CEs */
#endif
#ifndef SUSPECTS
#define SUSPECTS 0   /* a master that is only slow is given up by the FE */
#endif
#ifndef LOSSES
#define LOSSES   1   /* of a single event (MP is not reliable, RFC 5811 section 4.2.1.3) */
#endif
#ifndef SWITCHES
#define SWITCHES 1   /* planned */
#endif
#ifndef JOURNAL
#define JOURNAL  2   /* rows of the FE's journal */
#endif

#define ROWS 14      /* generations at most; an assertion guards it */
#define NONE 2
#define OTHER(c) (1 - (c))
#define CEID(c)  (8 + (c))             /* the Config SET FEPO.CEID = c */
#define IS_CHANGE(v) ((v) < 8)
#define ENTRY(t, v) (((t) << 4) | (v))
#define TERM(e)  ((e) >> 4)
#define VALUE(e) ((e) & 15)
#define BIT(v)   (1 << (v))
#define PENDING  4                     /* in an ANSWER: a Config of the asking CE has not begun */

mtype = { CONFIG, QUERY, DONE, ANSWER, CHANGE, FOLLOW, OKAY, NO, WANTS,   /* messages */
          UNKNOWN, BACKUP, MASTER,                                        /* roles of a CE */
          IDLE, TAKING, READY, LEAVING,                                   /* of a master */
          NOTHING, ROLE, FEED, TAKE };                                    /* what a query is for */

typedef Log { byte e[ROWS] };

/* ---- the FE ---- */
byte fe_master = NONE, fe_term, fe_gen;
Log  fe;
bool fe_has[2];                        /* it holds an association with this CE */
bool busy, k_same;                     /* the kernel is being programmed; its sender's association lasts */
byte k_from, k_val, k_term;
chan waiting = [2] of { byte, byte, byte, bool };  /* sender, Config, term, association lasts */

/* ---- transports: all that is on the way ---- */
bool link[2], fr_up, fr_on[2];         /* fr_on: this CE has not noticed its end */
chan to_fe[2]   = [4] of { mtype, byte };               /* CONFIG value | QUERY number */
chan from_fe[2] = [4] of { mtype, byte, byte, byte, byte };
                                       /* DONE value | ANSWER number, term, generation, master */
chan events[2]  = [2] of { byte };                      /* PrimaryCEChanged */
chan fr[2]      = [8] of { mtype, byte, byte, byte, byte };
                                       /* to this CE: kind, term, generation, value, stream */
chan mp[2]      = [1] of { byte };     /* to this CE: ReplicaWants, in no order with the others */

/* ---- the CEs ---- */
bool alive[2], session[2], complete[2], following[2], unverified[2], followed[2], known[2];
bool stale[2], wanted[2], handed[2], claim[2];
mtype role[2] = UNKNOWN, phase[2] = IDLE, query[2] = NOTHING;
Log  rep[2];
byte rlen[2], rterm[2], base[2], out[2], ask[2], held[2], had[2], stream[2];

/* ---- faults left, and what the properties need ---- */
byte crashes = CRASHES, breaks = BREAKS, frbreaks = FRBREAKS, suspects = SUSPECTS;
byte losses = LOSSES, switches = SWITCHES;
byte next = 1, applied, last, owner[ROWS];

/* ==== the FE ==== */

inline clear1(ch) { do :: ch?_ :: empty(ch) -> break od }
inline clear2(ch) { do :: ch?_,_ :: empty(ch) -> break od }
inline clear5(ch) { do :: ch?_,_,_,_,_ :: empty(ch) -> break od }

inline carried_out(from, val, term) {
	assert(fe_gen < ROWS - 1);         /* the model's own limit */
	d_step {
#ifdef TERM_OF_THE_END
	fe.e[fe_gen] = ENTRY(fe_term, val);
#else
	fe.e[fe_gen] = ENTRY(term, val);
#endif
	/* P3: never two masters' changes in one term, and terms never go back */
	assert(owner[TERM(fe.e[fe_gen])] == 0 || owner[TERM(fe.e[fe_gen])] == from + 1);
	assert(fe_gen == 0 || TERM(fe.e[fe_gen]) >= TERM(fe.e[fe_gen - 1]));
	if
	:: IS_CHANGE(val) ->
		assert(!(applied & BIT(val))); /* P2: none twice */
		assert(val > last);            /* P2: none out of order */
		applied = applied | BIT(val); last = val
	:: else
	fi;
	owner[TERM(fe.e[fe_gen])] = from + 1
	}
#ifdef GENERATION_NOT_BUMPED
	if
	:: term != fe_term -> fe.e[fe_gen] = 0
	:: else -> fe_gen++
	fi
#else
	fe_gen++
#endif
}

inline tell(c) {                       /* PrimaryCEChanged to this CE, if it gets there */
	if
	:: fe_has[c] && link[c] && nfull(events[c]) -> events[c]!fe_master
	:: fe_has[c] && link[c] && losses > 0 -> losses--
	:: !fe_has[c] || !link[c] -> skip
	fi
}

inline office(c) { fe_master = c; fe_term++; tell(0); tell(1) }

inline leave(c) {                      /* the FE's association with c has ended */
	fe_has[c] = false; link[c] = false; clear2(to_fe[c]);
	if :: k_from == c -> k_same = false :: else fi;
	n = len(waiting);
	do
	:: n > 0 -> waiting?wf,wv,wt,ws; waiting!wf,wv,wt,(ws && wf != c); n--
	:: else -> break
	od;
	wf = 0; wv = 0; wt = 0; ws = 0;
	if
	:: fe_master == c && fe_has[OTHER(c)] -> office(OTHER(c))
	:: fe_master == c && !fe_has[OTHER(c)] -> fe_master = NONE
	:: else
	fi
}

inline answer_config(c, val) {
	if :: link[c] -> from_fe[c]!DONE,val,0,0,0 :: else fi
}

#ifdef QUERY_OVERTAKES
#define MAY_ANSWER(c) true
#else
#define MAY_ANSWER(c) (!busy || fe_master != c || k_term == fe_term)
#endif

inline answer_query(c, number) {
	if
	:: link[c] && !waiting??[eval(c),_,_,true] -> from_fe[c]!ANSWER,number,fe_term,fe_gen,fe_master
	:: link[c] && waiting??[eval(c),_,_,true] -> from_fe[c]!ANSWER,number,fe_term,fe_gen,PENDING + fe_master
	:: else
	fi
}

inline associate(c) {
	lose_session(c);
	link[c] = true; fe_has[c] = true; session[c] = true;
	ask_fe(c, ROLE);
	if
	:: fe_master == NONE -> office(c)
	:: else
	fi
}

/* ==== the CEs ==== */

inline ask_fe(c, why) {
	query[c] = why; ask[c] = (ask[c] + 1) & 3; stale[c] = false;
	if :: link[c] -> to_fe[c]!QUERY,ask[c] :: else fi
}

inline to_the_fe(c, val) { if :: link[c] -> to_fe[c]!CONFIG,val :: else fi }

inline to_the_peer(c, kind, t, g, v, s) { if :: fr_up -> fr[OTHER(c)]!kind,t,g,v,s :: else fi }

inline forget(c) {                     /* nothing is known */
	d_step {
	do :: rlen[c] > 0 -> rlen[c]--; rep[c].e[rlen[c]] = 0 :: else -> break od;
	complete[c] = false; following[c] = false; rterm[c] = 0; unverified[c] = false
	}
}

inline add(c, entry) { assert(rlen[c] < ROWS - 1); rep[c].e[rlen[c]] = entry; rlen[c]++ }

inline no_master(c) {                  /* its tables are a replica, if nothing was under way */
	if
	:: role[c] == MASTER ->
		if
		:: (phase[c] == READY || phase[c] == LEAVING) && out[c] == 0 && held[c] == 0 && known[c]
			-> complete[c] = true
		:: else -> forget(c)
		fi
	:: else
	fi;
	phase[c] = IDLE; out[c] = 0; held[c] = 0; followed[c] = false; known[c] = false;
	base[c] = 0; had[c] = 0; following[c] = false; handed[c] = false; unverified[c] = true
}

inline lose_session(c) {
	no_master(c);
	session[c] = false; role[c] = UNKNOWN; query[c] = NOTHING; stale[c] = false;
	wanted[c] = false; clear5(from_fe[c]); clear1(events[c])
}

inline become_backup(c) {
	if
	:: role[c] != BACKUP -> no_master(c); role[c] = BACKUP; query[c] = NOTHING; wanted[c] = false
	:: else
	fi
}

inline become_master(c) {
	if
	:: role[c] != MASTER ->
		if :: role[c] != BACKUP -> forget(c) :: else fi;  /* nothing is known for certain */
		role[c] = MASTER; phase[c] = TAKING; wanted[c] = false;
		out[c] = 1; to_the_fe(c, CEID(c)); ask_fe(c, TAKE);
		if                             /* handed over: its last change makes this CE the master */
#ifdef HANDED_FOR_EVER
		:: complete[c] && handed[c] -> ready(c)
#else
		:: complete[c] && handed[c] && following[c] -> ready(c)
#endif
		:: else
		fi;
		following[c] = false; handed[c] = false
	:: else
	fi
}

inline ready(c) {
	d_step {
	phase[c] = READY;
	/* P1: its picture is what the FE holds (if it is the FE's master, and has not lost it again) */
	if
	:: fe_master == c && link[c] && fe_has[c] ->
		i = 0; set = 0;
		do
		:: i < rlen[c] ->
			if :: IS_CHANGE(VALUE(rep[c].e[i])) -> set = set | BIT(VALUE(rep[c].e[i])) :: else fi;
			i++
		:: else -> break
		od;
		assert(set == applied)
	:: else
	fi;
	i = 0; set = 0
	}
}

inline copy(c, from, until) {          /* rows or journal of the FE: what it holds does not change */
	d_step {
	i = from;
	do :: i < until -> rep[c].e[i] = fe.e[i]; i++ :: else -> break od;
	rlen[c] = until; i = 0
	}
}

#define FIRST(g) ((g) > JOURNAL -> (g) - JOURNAL : 0)   /* oldest row of the journal, from 0 */

#ifdef JOURNAL_GAP
#define TAIL_THERE(from, g) true
#else
#define TAIL_THERE(from, g) ((from) >= FIRST(g))
#endif

/* The position against the replica. Our own SET CEID is in it, if the FE obeyed it and it has begun. */
inline take_over(c, t, g) {
	n = (m == c -> g - 1 : g);         /* what the FE had from others */
	if
	:: known[c] -> skip
	:: phase[c] == READY -> /* handed over: only the numbering was missing */
		if :: rlen[c] > n -> do :: rlen[c] > n -> rlen[c]--; rep[c].e[rlen[c]] = 0
		                       :: else -> break od
		   :: else fi;
		base[c] = n; add(c, ENTRY(t, CEID(c)))
	:: phase[c] == TAKING && complete[c] && t == rterm[c] + 1 && n == rlen[c] ->
		base[c] = n; add(c, ENTRY(t, CEID(c)))
	:: phase[c] == TAKING && complete[c] && t == rterm[c] + 1 && n > rlen[c] && TAIL_THERE(rlen[c], g) ->
		i = rlen[c];
#ifdef JOURNAL_GAP
		if :: i < FIRST(g) -> i = FIRST(g) :: else fi;
#endif
		copy(c, i, n); base[c] = n; add(c, ENTRY(t, CEID(c)))
	:: phase[c] == TAKING && complete[c] && t == rterm[c] + 1 && n < rlen[c] ->
		resend(c, n, t)
	:: else -> /* another term, or the tail is gone: the tables are read whole */
		forget(c); copy(c, 0, n); base[c] = n; add(c, ENTRY(t, CEID(c)))
	fi;
	complete[c] = false; known[c] = true; rterm[c] = t;
	n = 0;
	settle(c)
}

inline resend(c, n, t) {               /* what the FE never got, in its order */
	base[c] = n; i = n; v = rlen[c]; rlen[c] = n;
	/* the replica's tail moves up by one: the SET CEID comes before it */
	tail = 0; tail2 = 0;
	do
	:: i < v ->
		if
		:: IS_CHANGE(VALUE(rep[c].e[i])) && tail == 0 -> tail = VALUE(rep[c].e[i])
		:: IS_CHANGE(VALUE(rep[c].e[i])) && tail != 0 -> assert(tail2 == 0); tail2 = VALUE(rep[c].e[i])
		:: else
		fi;
		rep[c].e[i] = 0; i++
	:: else -> break
	od;
	add(c, ENTRY(t, CEID(c)));
	if :: tail  -> add(c, ENTRY(t, tail));  out[c]++; to_the_fe(c, tail)  :: else fi;
	if :: tail2 -> add(c, ENTRY(t, tail2)); out[c]++; to_the_fe(c, tail2) :: else fi;
	i = 0; v = 0; tail = 0; tail2 = 0
}

inline settle(c) {
	if
	:: phase[c] == TAKING && known[c] && out[c] == 0 -> ready(c)
	:: else
	fi
}

/* The replica is compared with the FE and brought up to it. */
inline fed(c, t, g) {
	if
	:: !complete[c] -> copy(c, 0, g); complete[c] = true; rterm[c] = t; unverified[c] = false
	:: complete[c] && (g < rlen[c] || (g > rlen[c] && rlen[c] < FIRST(g))
#ifndef LAST_NOT_COMPARED
		|| (rlen[c] > 0 && (rlen[c] <= FIRST(g) || rep[c].e[rlen[c] - 1] != fe.e[rlen[c] - 1]))
#endif
		) -> forget(c)
	:: else -> copy(c, rlen[c], g); rterm[c] = t; unverified[c] = false
	fi
}

inline unfollowed(c) {                 /* nobody follows this master: nothing is held back */
	followed[c] = false;
	if
	:: held[c] != 0 -> to_the_fe(c, held[c]); held[c] = 0
	:: else
	fi
}

#ifdef FOLLOWS_AFTER_REFUSAL
#define NOT_ASKED(c) false
#else
#define NOT_ASKED(c) (!following[c] && !wanted[c])
#endif
#ifdef LATE_REFUSAL
#define OF_STREAM(c) true
#else
#define OF_STREAM(c) (s == stream[c])
#endif
#define CAN_SERVE(c, g) (role[c] == MASTER && phase[c] == READY && known[c] && \
	(g) >= base[c] && (g) <= rlen[c])

inline fr_message(c) {
	if
	/* to a master */
	:: kind == WANTS && CAN_SERVE(c, g) ->
		followed[c] = true; had[c] = g; stream[c] = (stream[c] + 1) & 3;
		to_the_peer(c, FOLLOW, rterm[c], g, 0, stream[c]);
		n = g;
		do
		:: n < rlen[c] ->
			to_the_peer(c, CHANGE, rterm[c], n + 1, VALUE(rep[c].e[n]), stream[c]); n++
		:: else -> break
		od;
		n = 0
	:: kind == WANTS && !CAN_SERVE(c, g) -> to_the_peer(c, NO, 0, g, 1, 0)
	:: kind == OKAY && followed[c] && OF_STREAM(c) ->
		had[c] = g;
		if
		:: held[c] != 0 && g == rlen[c] -> to_the_fe(c, held[c]); held[c] = 0
		:: else
		fi
	:: kind == NO && v == 0 && followed[c] && OF_STREAM(c) -> unfollowed(c)
	/* to a replica */
	:: kind == NO && v == 1 -> wanted[c] = false
	:: kind == FOLLOW || kind == CHANGE ->
		if
		:: role[c] != BACKUP || !session[c] || !complete[c] || t < rterm[c] || NOT_ASKED(c) ->
			to_the_peer(c, NO, 0, g, 0, s)
#ifndef HIGHER_TERM_TAKEN
		:: role[c] == BACKUP && session[c] && complete[c] && !NOT_ASKED(c) &&
			(t > rterm[c] || unverified[c]) ->
			following[c] = false; unverified[c] = true; to_the_peer(c, NO, 0, g, 0, s)
#endif
		:: else ->
			if
			:: kind == CHANGE && g == rlen[c] + 1 ->
				add(c, ENTRY(t, v)); following[c] = true; rterm[c] = t; handed[c] = (v == CEID(c));
				to_the_peer(c, OKAY, 0, g, 0, s)
			:: g <= rlen[c] ->
				following[c] = true; rterm[c] = t; to_the_peer(c, OKAY, 0, g, 0, s)
			:: else -> following[c] = false; to_the_peer(c, NO, 0, g, 0, s)
			fi
		fi;
		if :: kind == FOLLOW -> wanted[c] = false :: else fi
	:: else
	fi
}

inline fr_lost(c) {                    /* this CE notices; it asks the FE to look */
	fr_on[c] = false; clear5(fr[c]); clear1(mp[c]); wanted[c] = false;
	if
	:: role[c] == MASTER -> unfollowed(c)
	:: role[c] == BACKUP && session[c] ->
		following[c] = false; unverified[c] = true; claim[c] = true
	:: else -> following[c] = false
	fi
}

#ifdef SWITCH_UNQUIET
#define MAY_LEAVE(c) true
#else
#define MAY_LEAVE(c) (out[c] == 0 && (!followed[c] || had[c] == rlen[c]))
#endif

inline send_change(c, v) {
	add(c, ENTRY(rterm[c], v));
	if
	:: followed[c] -> to_the_peer(c, CHANGE, rterm[c], rlen[c], v, stream[c])
	:: else
	fi;
	if
#ifdef SEMI
	:: followed[c] -> held[c] = v
#endif
	:: !IS_CHANGE(v) && followed[c] -> held[c] = v
	:: else -> to_the_fe(c, v)
	fi;
	out[c]++
}

#ifdef FENCE_REMOVED
#define OBEYED true
#else
#define OBEYED (c == fe_master && same)
#endif

inline begin_next() {                  /* what waits begins, if its sender is the master still */
	do
	:: !busy && nempty(waiting) ->
		waiting?c,v,t,same;
		if
		:: IS_CHANGE(v) && OBEYED ->
			busy = true; k_from = c; k_val = v; k_term = t; k_same = same
		:: !IS_CHANGE(v) && OBEYED ->
			carried_out(c, v, t);
#ifndef ACK_BEFORE_APPLY
			answer_config(c, v);
#endif
			if
			:: v != CEID(c) && fe_has[v - 8] -> office(v - 8)
			:: v != CEID(c) && !fe_has[v - 8] -> office(c)  /* not there: back to this one */
			:: else
			fi
		:: else                        /* fenced */
		fi
	:: busy || empty(waiting) -> break
	od;
	c = 0; v = 0; t = 0; same = 0
}

#ifdef CYCLES  /* searching for a run without end: what is on the way to the FE arrives within a period */
#define PERIOD_OVER (empty(to_fe[0]) && empty(to_fe[1]) && !busy && empty(waiting))
#else
#define PERIOD_OVER true
#endif

proctype FE() {
	byte c, v, t, n, wf, wv, wt; bool same, ws;
end:	do
	/* a Config arrives */
	:: atomic { nfull(waiting) && (to_fe[0]?[CONFIG,_] || to_fe[1]?[CONFIG,_]) ->
		if
		:: to_fe[0]?CONFIG,v -> c = 0
		:: to_fe[1]?CONFIG,v -> c = 1
		fi;
		if
#ifdef FENCE_REMOVED
		:: true
#else
		:: c == fe_master
#endif
			-> waiting!c,v,fe_term,true;
#ifdef ACK_BEFORE_APPLY
			answer_config(c, v)
#endif
		:: else                        /* fenced: RFC 7121 section 3.2 */
		fi; begin_next() }
	/* the kernel has it */
	:: atomic { busy -> busy = false;
		carried_out(k_from, k_val, k_term);
#ifndef ACK_BEFORE_APPLY
		if :: k_same -> answer_config(k_from, k_val) :: else fi;
#endif
		k_from = 0; k_val = 0; k_term = 0; k_same = 0;
		begin_next() }
	/* a Query: answered at once, of one instant; the master's waits for an earlier term's Config */
	:: atomic { (MAY_ANSWER(0) && to_fe[0]?[QUERY,_]) -> to_fe[0]?QUERY,v; answer_query(0, v); v = 0 }
	:: atomic { (MAY_ANSWER(1) && to_fe[1]?[QUERY,_]) -> to_fe[1]?QUERY,v; answer_query(1, v); v = 0 }
	/* an association ends: by the transport's word, the dead interval's, or after a look */
	:: atomic { fe_has[0] && !link[0] -> leave(0) }
	:: atomic { fe_has[1] && !link[1] -> leave(1) }
	:: atomic { suspects > 0 && fe_master != NONE && fe_has[OTHER(fe_master)] ->
		suspects--; c = fe_master; leave(c); c = 0 }
	/* MasterLiveness is read: the FE looks for itself */
	:: atomic { claim[0] || claim[1] -> claim[0] = false; claim[1] = false; c = fe_master;
		if
#ifdef CLAIM_BELIEVED
		:: c != NONE
#else
		:: c != NONE && !link[c]
#endif
			-> assert(!link[c]); leave(c)  /* P5: a claim alone moves nothing */
		:: else
		fi; c = 0 }
	/* the FE dials and associates: the CE starts with the role query */
	:: atomic { !fe_has[0] && !link[0] && alive[0] -> associate(0) }
	:: atomic { !fe_has[1] && !link[1] && alive[1] -> associate(1) }
	od
}

proctype CE(byte c) {
	byte v, t, g, m, n, i, set, tail, tail2, s; mtype kind;
end:	do
	/* the FE answers */
	:: atomic { alive[c] && from_fe[c]?[DONE,_,_,_,_] -> from_fe[c]?DONE,v,_,_,_;
		if
		:: role[c] == MASTER && out[c] > 0 ->
			/* P1: what is acknowledged is there (an answer is taken for the oldest request) */
			assert(!known[c] || !IS_CHANGE(VALUE(rep[c].e[rlen[c] - out[c]])) ||
				(applied & BIT(VALUE(rep[c].e[rlen[c] - out[c]]))));
			assert(!IS_CHANGE(v) || (applied & BIT(v)));
			out[c]--;
			if
			:: !IS_CHANGE(v) && v != CEID(c) -> become_backup(c)
			:: else -> settle(c)
			fi
		:: else
		fi; v = 0 }
	:: atomic { alive[c] && from_fe[c]?[ANSWER,_,_,_,_] -> from_fe[c]?ANSWER,v,t,g,m;
		if
		:: v == ask[c] && query[c] != NOTHING ->
			kind = query[c]; query[c] = NOTHING; v = 0;
			if
			:: kind == ROLE && !stale[c] && (m & 3) == c -> become_master(c)
			:: kind == ROLE && !stale[c] && (m & 3) == OTHER(c) -> become_backup(c)
			:: kind == FEED && role[c] == BACKUP && !following[c] -> fed(c, t, g)
			:: kind == TAKE && role[c] == MASTER -> take_over(c, t, g)
			:: else
			fi;
			stale[c] = false
		:: else
		fi; kind = CONFIG; v = 0; t = 0; g = 0; m = 0 }
	:: atomic { alive[c] && events[c]?[_] -> events[c]?m;
		if :: query[c] == ROLE -> stale[c] = true :: else fi;
		if
		:: m == c -> become_master(c)
		:: m == OTHER(c) -> become_backup(c)
		fi; m = 0 }
	/* the other CE */
	:: atomic { alive[c] && fr_on[c] && nempty(fr[c]) && (len(fr[OTHER(c)]) < 4 ||
		fr[c]?[OKAY,_,_,_,_] || fr[c]?[NO,_,_,_,_]) ->
		fr[c]?kind,t,g,v,s; fr_message(c); kind = CONFIG; t = 0; g = 0; v = 0; s = 0 }
	:: atomic { alive[c] && fr_on[c] && nempty(mp[c]) && len(fr[OTHER(c)]) < 4 ->
		mp[c]?g; kind = WANTS; fr_message(c); kind = CONFIG; g = 0 }
	:: atomic { alive[c] && fr_on[c] && !fr_up -> fr_lost(c) }
	/* the transport to the FE is seen to be gone */
	:: atomic { alive[c] && session[c] && !link[c] -> lose_session(c) }
	/* a timer: what role is this? (where the answer would tell something new) */
	:: atomic { alive[c] && session[c] && link[c] && query[c] == NOTHING && empty(events[c]) &&
		empty(from_fe[c]) && empty(to_fe[c]) && fe_master != NONE &&
		(role[c] == UNKNOWN || (role[c] == MASTER) != (fe_master == c)) -> ask_fe(c, ROLE) }
	/* a backup sees to its replica; it asks the FE when there is something to learn */
	:: atomic { alive[c] && session[c] && link[c] && role[c] == BACKUP && query[c] == NOTHING &&
		!following[c] && !wanted[c] && (!complete[c] || unverified[c] || rlen[c] != fe_gen || rterm[c] != fe_term)
		-> ask_fe(c, FEED) }
	:: atomic { alive[c] && fr_up && fr_on[c] && fr_on[OTHER(c)] && session[c] && role[c] == BACKUP &&
		complete[c] && !unverified[c] && !following[c] && query[c] == NOTHING && !wanted[c] && empty(mp[OTHER(c)]) &&
		CAN_SERVE(OTHER(c), rlen[c]) && rterm[c] == rterm[OTHER(c)] ->
		wanted[c] = true; mp[OTHER(c)]!rlen[c] }
#ifndef NO_FOLLOWER_CHECK
	/* a timer: a replica that believes to follow falls behind */
	:: atomic { alive[c] && session[c] && link[c] && role[c] == BACKUP && following[c] &&
		!followed[OTHER(c)] && rlen[c] != fe_gen && empty(fr[0]) && empty(fr[1]) && PERIOD_OVER ->
		following[c] = false; unverified[c] = true }
#endif
	/* a master makes a change */
	:: atomic { alive[c] && role[c] == MASTER && phase[c] == READY && known[c] && held[c] == 0 &&
		next <= CHANGES && nfull(to_fe[c]) ->
		v = next; next++; send_change(c, v); v = 0 }
	/* or hands over, when all that it sent has been answered, and its replica has it */
	:: atomic { alive[c] && role[c] == MASTER && phase[c] == READY && known[c] && switches > 0 &&
		held[c] == 0 && MAY_LEAVE(c)
		-> switches--; phase[c] = LEAVING; send_change(c, CEID(OTHER(c))) }
	od
}

/* ==== faults ==== */

#define SETTLED(c) (fe_master == c && role[c] == MASTER && phase[c] == READY && known[c] && \
	out[c] == 0 && held[c] == 0 && rlen[c] == fe_gen && next > CHANGES && \
	role[OTHER(c)] == BACKUP && complete[OTHER(c)] && rlen[OTHER(c)] == fe_gen)

proctype World() {
	byte c;
	do
	:: atomic { crashes > 0 -> crashes--;
		if :: c = 0 :: c = 1 fi;
		if
		:: alive[c] -> alive[c] = false; link[c] = false; fr_up = false; fr_on[c] = false;
			lose_session(c); forget(c); unverified[c] = false; clear5(fr[c]); clear1(mp[c]); claim[c] = false
		:: else
		fi; c = 0 }
	:: atomic { !alive[0] -> alive[0] = true }
	:: atomic { !alive[1] -> alive[1] = true }
	:: atomic { breaks > 0 -> breaks--; if :: link[0] = false :: link[1] = false fi }
	:: atomic { frbreaks > 0 -> frbreaks--; fr_up = false }
	:: atomic { !fr_up && !fr_on[0] && !fr_on[1] && alive[0] && alive[1] ->
		fr_up = true; fr_on[0] = true; fr_on[1] = true }
	/* faults come to an end */
	:: atomic { crashes + breaks + frbreaks + suspects + losses + switches > 0 ->
		crashes = 0; breaks = 0; frbreaks = 0; suspects = 0; losses = 0; switches = 0 }
	:: timeout -> break
	od;
	/* P4: when nothing is left to do, there is a master that is ready, and a backup in step */
	assert(SETTLED(0) || SETTLED(1))
}

init { atomic { alive[0] = true; alive[1] = true; run FE(); run CE(0); run CE(1); run World() } }
