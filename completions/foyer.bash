# Completion of the foyer command for bash.

# Prints the words that may follow `foyer COMMAND`.
_foyer_options()
{
    case $1 in
    run) echo "--host" ;;
    ports) echo "--json --listening --connected --protocol" ;;
    who) echo "--json --connected" ;;
    services) echo "--json --protocol" ;;
    host) echo "--json --address4 --address6" ;;
    link) echo "--json --address" ;;
    up) echo "--net4 --net6 --ephemeral-ports" ;;
    down) echo "--force" ;;
    status) echo "--json" ;;
    esac
    echo "--building --help"
}

# First column of a listing of foyer's, without its heading; nothing if foyerd does not run.
_foyer_names()
{
    "${COMP_WORDS[0]}" "$1" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# Index of the program's name in `foyer run ...`, or nothing.
_foyer_program_index()
{
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --host | --building) ((i++)) ;;
        --)
            echo $((i + 1))
            return
            ;;
        -*) ;;
        *)
            echo "$i"
            return
            ;;
        esac
    done
}

_foyer_run()
{
    local current=$1 index
    index=$(_foyer_program_index)
    if [[ -z $index && $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_foyer_options run) --" -- "$current")
    elif [[ -z $index || $index -eq $COMP_CWORD ]]; then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
    elif declare -F _command_offset >/dev/null; then
        # bash-completion's: what the program itself completes.
        _command_offset "$index"
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}

_foyer()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="run ports who services host link up down status help version"
    local command=${COMP_WORDS[1]} words=""
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
        return
    fi
    if [[ $command != run || -z $(_foyer_program_index) ]]; then
        case $previous in
        --protocol)
            words="tcp udp"
            [[ $command == services ]] && words+=" sctp dccp"
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
            return
            ;;
        --host)
            mapfile -t COMPREPLY < <(compgen -W "$(_foyer_names host)" -- "$current")
            return
            ;;
        --building | --net4 | --net6 | --ephemeral-ports | --address | --address4 | --address6)
            return
            ;;
        esac
    fi
    case $command in
    run)
        _foyer_run "$current"
        return
        ;;
    help) words=$commands ;;
    ports) words=$(_foyer_names host) ;;
    who | services) words=$(awk '!/^#/ { print $1 }' /etc/services 2>/dev/null) ;;
    host)
        words="list add show remove"
        [[ $previous == show || $previous == remove ]] && words=$(_foyer_names host)
        ;;
    link)
        words="list add remove"
        [[ $previous == add ]] && words="tap"
        [[ $previous == remove ]] && words=$(_foyer_names link)
        ;;
    esac
    [[ $current == -* ]] && words=$(_foyer_options "$command")
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _foyer foyer
