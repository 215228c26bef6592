"""Writes the chat templates' golden renderings, testdata/tokenizer/chat.json, with Transformers.

    python3 testdata/make_chat.py

Needs transformers and jinja2 from PyPI, and the folder that the peers' setup script fills
(SERVEBENCH_PEERS). The templates are the project's own; they use what published models' do.
"""
import importlib.metadata
import json
import os
from pathlib import Path

from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("SERVEBENCH_PEERS", "/tmp/peers"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

say = lambda role, content: {"role": role, "content": content}
TALKS = {
    "one": [say("user", "What is the capital of France?")],
    "system": [say("system", "  You are terse.\n"), say("user", " Hi \n")],
    "turns": [say("user", "Hi\n"), say("assistant", "  Hello! \n"), say("user", "A 'quoted' \"thing\" <b>&amp;</b> {{ x }} {% y %}"),
              say("assistant", "<think>\nhm\n</think>\n\nFine."), say("user", "Ünïcode 👩‍👧 \u00a0 \u2028 end\\n")],
    "order": [say("assistant", "I begin"), say("user", "")],
}

# Templates of the kinds that published models ship, by the family they resemble.
FAMILIES = {
    "chatml": """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "llama 2": """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'system' %}{{ '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "mistral 0.1": """{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "phi 3": """{{ bos_token }}{% for message in messages %}{% if (message['role'] in ['user', 'system']) %}{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>' + '\\n'}}{% elif (message['role'] == 'assistant') %}{{ '<|assistant|>\\n' ~ message.content ~ '<|end|>\\n' }}{% endif %}{% endfor %}{{ '<|assistant|>\\n' if add_generation_prompt else eos_token }}""",
    "llama 3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    "llama 3.1": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined and false %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The first message, if it is a system one #}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" %}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "qwen 3": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}{{- tools | tojson }}
{%- else %}
    {%- if messages and messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}{{- call.arguments | tojson }}{%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' not in message %}{%- set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|eos|>'}}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|>'}}{% endif %}""",
    "macros": """{%- macro turn(role, content, end='<|end|>', trim=true) %}
{{- '<|' ~ role ~ '|>' }}{{ content | trim if trim else content }}{{ end }}
{%- endmacro -%}
{%- macro all(list) -%}
    {%- for m in list -%}{{ turn(m.role, m.content, end='<|' ~ loop.index ~ '|>\\n') }}{%- endfor -%}
{%- endmacro -%}
{{ all(messages) }}{{ turn('assistant', ' x ', trim=false) if add_generation_prompt }}""",
    "mistral 0.3": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
{{- user_messages | length }}
""",
    "indented": """
{# a comment #}
{% if messages %}
    {% for m in messages %}
        {{ m.role }}: {{ m.content }}
    {% else %}
        nothing
    {% endfor %}
{% endif %}

   {%+ if true %}kept{% endif %}
end

""",
    "generation": """{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}""",
    "loop controls": """{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}|{{ m.content | length }};{% endfor %}""",
}

# Single expressions and statements, rendered with the talk "turns".
SNIPPETS = [
    "{{ none }} {{ true }} {{ false }} {{ 1.0 }} {{ 10 // 3 }} {{ 10 / 4 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 }} {{ 1 + 1.5 }}",
    "{{ missing }}|{{ missing is defined }}|{{ missing is none }}|{{ missing or 'x' }}|{{ missing | default('d') }}|{{ '' | default('d', true) }}",
    "{{ missing.attribute }}", "{{ missing['item'] }}", "{{ messages[0].missing }}|{{ messages[0]['missing'] is defined }}", "{{ messages[0].missing.more }}", "{{ messages[99] }}|{{ messages[99] is defined }}",
    "{{ 'a' + missing }}", "{{ 'a' ~ missing ~ 1 ~ none ~ true }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ 'a' + none }}", "{{ [1] + [2, 'x'] }}", "{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [0] * 2 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ none == false }} {{ '' == none }}",
    "{{ 1 < 'a' }}", "{{ 'x' in 'xyz' }} {{ 'q' not in 'xyz' }} {{ 'role' in messages[0] }} {{ 2 in [1, 2] }} {{ 'a' in {'a': 1} }} {{ 'user' in ['user'] and not 'x' in 'y' }}",
    "{{ not true or true and false }} {{ (not true) == false }} {{ not 1 == 2 }} {{ 0 or 'x' }} {{ '' and 'y' }}|{{ [] or {} or 'z' }}",
    "{{ 'yes' if messages else 'no' }} {{ 'x' if false }}| {{ ('a' if true else 'b') ~ 'c' }} {{ 'n' if not messages }}|",
    "{{ messages | length }} {{ messages | count }} {{ 'äöü' | length }} {{ messages[-1].role }} {{ (messages | first).role }} {{ (messages | last).content | length }}",
    "{{ 'abcdef'[1:3] }} {{ 'abcdef'[-2:] }} {{ 'abcdef'[:-2] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[::2] }} {{ 'äöü'[1] }} {{ 'äöü'[-1] }} {{ 'abc'[5:] }}|{{ 'abc'[2:1] }}|{{ [1,2,3][1:] }} {{ [1,2,3][10:] }}",
    "{{ messages[1:3] | map(attribute='role') | join(', ') }} {{ messages[::-1][0].role }} {{ messages[-2:][0]['role'] }} {{ messages[5:] | length }}",
    "{{ messages | map(attribute='role') | list }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | map('trim') | list }}",
    "{{ messages | selectattr('role', 'in', ['user']) | list | length }} {{ messages | selectattr('tool_calls', 'defined') | list | length }} {{ [1, 0, 2] | select | list }} {{ [1, 2, 3, 4] | reject('odd') | list }}",
    "{{ ' x ' | trim }}| {{ 'xxaxx'.strip('x') }} {{ ' a '.strip() }}|{{ 'xxa'.lstrip('x') }} {{ 'axx'.rstrip('x') }} {{ '\\n a\\t\\n'.strip() }}|{{ ' a '.rstrip() }}|{{ '\\u00a0a\\u3000'.strip() }}|{{ '\\u00a0a\\u3000' | trim }}|",
    "{{ '\\x1c\\x85 q \\x85\\x1f' | trim }}|{{ '\\x1c\\x85 q \\x85\\x1f'.strip() }}|{{ 'xxqx' | trim('x') }}|{{ 'xxqx' | trim(chars='x') }}|{{ ' q ' | trim(none) }}|{{ 5 | trim }}|{{ 'ΑΣ ß İ' | lower }} {{ 'ß ŉ' | upper }} {{ 'ǆ ÄÖ' | capitalize }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'a b'.title() }} {{ 'abc'.capitalize() }} {{ 'a-b-c'.replace('-', '+') }} {{ 'a-b-c'.replace('-', '+', 1) }} {{ 'abc'.find('c') }} {{ 'abcabc'.count('b') }}",
    "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'x</t>y'.split('</t>')[-1] }} {{ 'ab'.split('x')[0] }} {{ 'a\\nb'.splitlines() }} {{ ', '.join(['a', 'b']) }} {{ 'a=b'.partition('=') }}",
    "{{ 'hello world' | upper }} {{ 'ABC' | lower }} {{ 'hello world' | title }} {{ 'hello World' | capitalize }} {{ 'a-b' | replace('-', '_') }} {{ ['x', 'y'] | join }} {{ [3,1,2] | sort }} {{ [1, 2] | reverse | list }} {{ [1,1,2] | unique | list }} {{ 'abc' | list }}",
    "{{ '42' | int + 1 }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '1.5' | float }} {{ 42 | string ~ 'x' }} {{ 3.7 | int }} {{ 2.567 | round(1) }} {{ -3 | abs }} {{ [1, 5, 3] | max }} {{ [1, 5, 3] | min }} {{ [1, 2] | sum }}",
    "{{ {'a': 1, 'b': [1, 2.5, none, true], 'ü': 'é\"\\n<&>'} | tojson }}", "{{ {'b': 1, 'a': {'c': []}} | tojson(indent=2) }}", "{{ messages | tojson }}", "{{ 'x</script>\\'' | tojson }} {{ 1.0 | tojson }} {{ none | tojson }} {{ [] | tojson }} {{ {} | tojson }}", "{{ messages[2] | tojson(indent=4) }}",
    "{{ {'a': 1, 'b': 'x'} }} {{ ['a', 1, none, true, 1.5, {'k': []}] }} {{ (1, 'a') }} {{ 'it\\'s' }} {{ ['it\\'s', 'a\"b', 'n\\n'] }}",
    "{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in {'z': 1, 'y': 2} | items %}{{ k }}{{ v }}{% endfor %}",
    "{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 'd') }} {{ {'a': 1}.keys() | list }} {{ {'a': 1}.values() | list }} {{ messages[0].get('role') }} {{ messages[0].get('name', 'nobody') }} {{ messages[0].items() | list }}",
    "{{ 1 is number }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ [] is iterable }} {{ 'a' is iterable }} {{ 2 is even }} {{ 3 is odd }} {{ true is boolean }} {{ 1 is integer }} {{ 1.0 is float }} {{ 4 is divisibleby 2 }} {{ none is none }} {{ 1 is eq 1 }} {{ true is true }} {{ 1 is true }} {{ 0 is false }} {{ messages is string }} {{ missing is undefined }} {{ 'a' is in 'abc' }} {{ 'a' is not none }}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% set ns = namespace(x=1, s='') %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.x }}{{ ns.s }}",
    "{% set x %}a{{ 1 }}b{% endset %}{{ x }}{{ x | length }}", "{% set a, b = 1, 'x' %}{{ a }}{{ b }}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}", "{% for i in range(5) if i % 2 %}{{ i }}{{ loop.index }}{{ loop.last }}{% endfor %}", "{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(4, 0, -2) | list }} {{ range(2)[0] }}",
    "{% for i in [1, 2, 3] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.revindex0 }}{{ loop.depth }} {% endfor %}", "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}", "{% for m in messages %}{% for c in 'ab' %}{{ loop.index }}{{ c }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for i in [] %}x{% else %}empty{% endfor %}",
    "{% macro f(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(1, c='y') }} {{ f(a=5) }}", "{% macro f(x) %}<{{ x }}{{ caller() }}>{% endmacro %}{% call f(1) %}in{% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f() %}{{ kwargs.x }}{{ varargs | length }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f() %}{{ messages | length }}{{ bos_token }}{% endmacro %}{{ f() }}", "{% for i in [1] %}{% macro g() %}{{ i }}{% endmacro %}{{ g() }}{% endfor %}", "{% filter upper %}abc{{ 'd' }}{% endfilter %}", "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}", "{% raw %}{{ x }}{% endraw %}",
    "  {% if true %}\n  a\n  {% endif %}\nb\n", "a\n  {%- if true -%}  \n b \n{%- endif %}\nc", "x {{- ' y ' -}} z\n {{ 'q' }}\n\n", "a {# c #}\nb\n  {# d #}\nc\n{#- e -#}\n d", "{{ 'a' }}\n{{ 'b' }}\n", "\n\n{% if true %}\n\nx{% endif %}\n\n", "a\t{% if true %}b{% endif %}\r\nc\r\n", "{%- for i in [1,2] -%}\n {{ i }}\n{%- endfor %}|", "{%- for i in [1,2] +%}\n {{ i }}\n{%- endfor %}|",
    "{{ \"a\\nb\\t\\\"c\\\" \\\\ \\x41 \\u00e9 '\" }}{{ 'a\\'b' }}{{ 'multi\nline' }}", "{{ '}}' }}{{ '{%' }}{{ \"%}\" }}", "{{ messages[0]['con' ~ 'tent'] | trim }}", "{{ ('a', 'b')[1] }} {{ {'x': {'y': [1, 2]}}.x.y[1] }} {{ [[1, 2], [3]][0][1] }}", "{{ 1_000 }} {{ 0x1f }} {{ 1e3 }}",
    "{{ raise_exception('no ' ~ messages | length ~ '!') }}", "{{ nofunction() }}", "{{ 'a' | nofilter }}", "{{ 1 is notest }}", "{% if %}", "{{ unclosed", "{% for x in y %}", "{{ 'a'.nomethod() }}", "{{ messages.nomethod() }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{% for i in 5 %}{% endfor %}", "{% for i in none %}{% endfor %}", "{% for i in missing %}x{% endfor %}ok", "{{ none.x }}", "{{ none | length }}", "{{ [1, 2].append(3) }}", "{% set messages = messages + [{'role': 'user', 'content': 'x'}] %}{{ messages | length }}", "{% unknown %}",
    "{{ strftime_now is defined }} {{ strftime_now('%%') }} {{ tools is none }} {{ documents is none }} {{ unk_token }} {{ pad_token }} {{ sep_token is defined }}", "{{ messages is iterable and messages is not string }} {{ messages[0] is mapping }} {{ messages[0].content is string }}", "{{ messages[0].content.strip().split(' ')[0] | upper ~ '!' }}", "{{ (messages | map(attribute='content') | join('\\n')).split('\\n') | length }}",
    "{{ 'a' }} {% if true %}b{% endif %} {{ 'c' }}\t{# d #}\n {% if true %} e {% endif %} \n{% if true %}\n\nf\n{% endif %} {% if true %}g{% endif %}", "{% if true %}\r\n  x\r\n  {% endif %}\r\ny", "a{% if true +%}\n b\n {%+ endif %}\nc", "{% raw %}\n {% if x %}\n y {% endraw %}\n z", "a {%- raw -%} \n {{ '\\n' }} {# x #} \n {%- endraw -%} \n b", "  {% raw %} x\n  {% endraw %}\n c{% raw %}{% endraw %}", "{%+ raw %}{% raw x %}{%+ endraw +%}\nd", "{{ {'a': {'b': 1}} | tojson }}\n{% set d = {'a': {'b': 1}} %}\n{{ d.a.b }}",
    r"""{{ '\\n' }}{{ "\\\\n" }}{{ 'a\\' }}{{ '\'' }}{{ "\"" }}{{ '\q\d' }}{{ '\101\0\x41\u00e9\U0001F600' }}{{ '\\n'.join(['a', 'b']) }}{{ {'k\n': 'v\\'} | tojson }}""",
    "{{ messages[0].content\n if true\n else 'x' }}{% for m\n in\n messages %}{{\tm.role\n}}{% endfor %}", "{{ 3.x }}", "{{ a @ b }}", "{{ a ? b }}", "{{ 'x' }", "{% if true %}a{% endif", "{# x", "{{ '\\x4' }}", "{{ 'a\\\nb' }}",
    "{{ 'a' 'b' }}", "{{ '%s-%d' | format('x', 3) }} {{ '%s' % 'y' }} {{ '{}-{}'.format(1, 'z') }}", "{{ '<b>' | e }} {{ '<b>' | escape }} {{ '<b>' | safe }}", "{{ 'a b c' | wordcount }} {{ 'abc' | first }} {{ 'line1\\nline2' | indent(2) }} {{ 'line1\\nline2' | indent(2, true) }} {{ [1,2,3,4] | batch(2) | list }} {{ 'long text here' | truncate(8) }}", "{{ [{'n': 'b'}, {'n': 'a'}] | sort(attribute='n') | map(attribute='n') | join }} {{ [{'g': 1, 'v': 2}, {'g': 1, 'v': 3}] | groupby('g') | length }}",
    "{%- set d = dict(a=1, b=2) -%}{{ d.a + d['b'] }}", "{% set x = 'a' if messages | length > 3 else 'b' %}{{ x }}", "{% set x = messages[0].content if messages[0].content is defined else '' %}{{ x }}", "{{- '' if add_generation_prompt else 'none' -}}", "{% if add_generation_prompt is defined and add_generation_prompt %}G{% endif %}", "{{ (1, 2, 3) | length }} {{ () | length }} {{ (1,) }}", "{{ messages | length > 1 and messages[1].role == 'assistant' }}", "{{ messages[loop_index | default(0)].role }}", "{{ not messages }} {{ not missing }} {{ not '' }}",
]


def render(template, messages, generate):
    try:
        text, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=generate, **TOKENS)
        return {"text": text[0]}
    except Exception as e:  # whatever the template did
        return {"error": f"{type(e).__name__}: {e}"}


def case(template, talk, generate):
    return {"talk": talk, "generate": generate, **render(template, TALKS[talk], generate)}


def main():
    families = [{"name": n, "template": t, "cases": [case(t, talk, g) for talk in TALKS for g in (False, True)]} for n, t in FAMILIES.items()]
    snippets = [{"name": t, "template": t, "cases": [case(t, "turns", True)]} for t in SNIPPETS]
    tok = AutoTokenizer.from_pretrained(PEERS / "models/smollm2")
    smollm2 = []
    for talk in TALKS:
        for g in (False, True):
            text = tok.apply_chat_template(TALKS[talk], tokenize=False, add_generation_prompt=g)
            smollm2.append({"talk": talk, "generate": g, "text": text, "ids": tok.encode(text, add_special_tokens=False)})
    golden = {"command": "python3 testdata/make_chat.py", "versions": {p: importlib.metadata.version(p) for p in ("transformers", "jinja2")},
              "tokens": TOKENS, "talks": TALKS, "smollm2": smollm2, "families": families, "snippets": snippets}
    out = HERE / "tokenizer" / "chat.json"
    out.write_text("{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, indent=0, sort_keys=False)}" for k, v in golden.items()) + "}\n")


if __name__ == "__main__":
    main()
